"""Output of `earmark detect`: one table, or a file for each recording."""

from pathlib import Path

import pytest
from cyclopts import CycloptsError

from earmark.annotations.start_times import StartTimes
from earmark.cli.detection_files import FilePerRecording, OneTable, Style, table_journal
from earmark.cli.detections import FileDetections
from earmark.cli.recordings import GivenRecording
from earmark.errors import ConfigError, DataError
from earmark.inference.events import Event

FOUND = [GivenRecording("r/a.wav", Path("a.wav")), GivenRecording("r/d/b.wav", Path("d/b.wav"))]
RESULTS = [
    FileDetections("r/a.wav", 2.0, (Event("dog", 0.5, 1.0, 0.75),)),
    FileDetections.failed("r/d/b.wav", "r/d/b.wav: damaged"),
]
CSV = Style("csv", StartTimes(), False)


def test_a_stopped_table_continues_from_its_journal(tmp_path: Path) -> None:
    out = tmp_path / "e.csv"
    journal = table_journal(out, {"hop": 0.4})
    table = OneTable(FOUND, CSV, out, journal, False)
    with pytest.raises(KeyboardInterrupt, match="--resume continues"), table.keeping() as keep:
        keep(RESULTS[0])
        keep(RESULTS[1])
        raise KeyboardInterrupt
    again = OneTable(FOUND, CSV, out, journal, True)
    assert again.known == {"r/a.wav": RESULTS[0]}  # the damaged file is tried again
    with again.keeping():
        again.write(iter([FileDetections("r/d/b.wav", 1.0)]))
    rows = out.read_text().splitlines()
    assert rows == ["file,onset,offset,label,score", "r/a.wav,0.5,1.0,dog,0.75", "r/d/b.wav,,,,"]
    assert list(tmp_path.iterdir()) == [out]
    assert set(OneTable(FOUND, CSV, out, journal, True).known) == {"r/a.wav", "r/d/b.wav"}
    with pytest.raises(CycloptsError, match="only csv, jsonl, parquet can be read again"):
        OneTable(FOUND, Style("dcase", StartTimes(), False), out, journal, True)
    out.write_text("nonsense\n")
    with pytest.raises(DataError, match="results of `earmark detect` were expected"):
        OneTable(FOUND, CSV, out, journal, True)


def test_a_journal_of_other_settings_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "e.csv"
    with pytest.raises(KeyboardInterrupt), OneTable(FOUND, CSV, out, table_journal(out, {"hop": 0.4}), False).keeping():
        raise KeyboardInterrupt
    with pytest.raises(ConfigError, match="another model or other settings"):
        OneTable(FOUND, CSV, out, table_journal(out, {"hop": 0.5}), True)
    assert table_journal(None, {}) is None and table_journal(Path("/dev/stdout"), {}) is None


def test_a_file_for_each_recording_mirrors_the_folder(tmp_path: Path) -> None:
    style = Style("audacity", StartTimes(), False)
    files = FilePerRecording(FOUND, style, tmp_path / "out", False)
    with files.keeping() as keep:
        for result in RESULTS:
            keep(result)
        files.write(iter(RESULTS))
    assert (tmp_path / "out" / "a.txt").read_text() == "0.500000\t1.000000\tdog\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.txt"]
    with pytest.raises(CycloptsError, match=r"a\.txt exists already \(1 such file\)"):
        FilePerRecording(FOUND, style, tmp_path / "out", False)
    assert set(FilePerRecording(FOUND, style, tmp_path / "out", True).known) == {"r/a.wav"}


def test_two_recordings_never_share_a_file(tmp_path: Path) -> None:
    twins = [GivenRecording("r/a.wav", Path("a.wav")), GivenRecording("s/a.flac", Path("a.flac"))]
    with pytest.raises(CycloptsError, match=r"r/a\.wav and s/a\.flac would both be written to"):
        FilePerRecording(twins, CSV, tmp_path, False)
    with pytest.raises(CycloptsError, match="not standard input"):
        FilePerRecording([GivenRecording("-", Path("-"))], CSV, None, False)
