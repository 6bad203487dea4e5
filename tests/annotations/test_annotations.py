"""Events written in each format and read back."""

from datetime import datetime

import pytest

from earmark.annotations.events import Annotation, FileEvents
from earmark.annotations.formats import FORMATS, format_of
from earmark.errors import ConfigError, DataError

NAMES = [
    *("plain.wav", "sub folder/a b.WAV", " lead.wav", "trail ", "comma,name.wav", 'quo"te.wav', '"q".wav', "it's.flac"),
    *(
        "semi;colon.wav",
        "Gänse.wav",
        "Ga\u0308nse.wav",
        "鳥.wav",
        "🦜.wav",
        "back\\slash.wav",
        "#hash.wav",
        "-dash.wav",
    ),
]
LINES = ["tab\tname.wav", "line\nname.wav", "return\rname.wav"]
BYTES = ["byte\udcff.wav", "\udce4\udcf6/latin.wav"]


def made(names):
    """Recordings with 0 to 4 events."""
    labels = ("dog", "Gänse, laut", 'a "quoted" word', "鳥", "x;y")
    return [
        FileEvents(name, tuple(event(n, i, labels[(n + i) % 5]) for i in range(n % 5))) for n, name in enumerate(names)
    ]


def event(n, i, label):
    onset = round(1.234567 * n + 3.1 * i, 6)
    return Annotation(onset, round(onset + 0.000001 + 0.7 * i, 6), label, round(0.1 + n / 100, 6))


def test_csv_reads_back_equal(tmp_path):
    files = made([*NAMES, *LINES, *BYTES])
    form = FORMATS["csv"]
    form.write(tmp_path / "a.csv", iter(files))
    assert form.read(tmp_path / "a.csv") == files


def test_times_of_day_read_back_equal(tmp_path):
    start = datetime.fromisoformat("2024-05-01T05:30:00+00:00")
    files = [FileEvents("a.wav", (Annotation(1.5, 2.0, "dog", 0.5, start), Annotation(3.0, 4.0, "dog", 0.5)))]
    FORMATS["csv"].write(tmp_path / "a.csv", files, with_time=True)
    assert FORMATS["csv"].read(tmp_path / "a.csv") == files


def test_the_end_of_a_name_chooses_the_format(tmp_path):
    assert format_of(tmp_path / "a.CSV") is FORMATS["csv"]
    with pytest.raises(ConfigError, match=r"ends in one of \.csv"):
        format_of(tmp_path / "a.doc")


@pytest.mark.parametrize(
    "values", [(-1.0, 2.0, "dog"), (2.0, 1.0, "dog"), (0.0, float("nan"), "dog"), (0.0, 1.0, "a\tb")]
)
def test_an_impossible_event_is_refused(values):
    with pytest.raises(DataError):
        Annotation(*values)
