from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data import check_disjoint, open_data
from earmark.data.esc50 import read_esc50
from earmark.errors import DataError
from earmark.labels import ESC10, LabelSet

HEADER = "filename,fold,target,category,esc10,src_file,take"
DOG = "1-100032-A-0.wav,1,0,dog,True,100032,A"
RAIN = "5-17367-A-10.wav,5,10,rain,True,17367,A"


def make(folder: Path, *rows: str, header: str = HEADER, suffix: str = ".wav") -> Path:
    for row in rows:
        name = Path(row.split(",")[0] or "none.wav").with_suffix(suffix)
        save_audio(folder / "audio" / name, Audio(np.linspace(-0.5, 0.5, 4410), 44100))
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    (folder / "meta" / "esc50.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_esc50(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_clips_follow_the_table(tmp_path: Path, suffix: str) -> None:
    # where the audio was converted, the table may say wav still
    data = read_esc50(make(tmp_path, DOG, RAIN, suffix=suffix))
    assert data.name == "ESC-50"
    assert data.labels == LabelSet.esc50()
    assert [(c.id, c.labels, c.split, c.group) for c in data] == [
        ("1-100032-A-0", ("dog",), "1", "100032"),
        ("5-17367-A-10", ("rain",), "5", "17367"),
    ]
    assert [clip.load(16000).duration for clip in data] == [0.1, 0.1]


def test_tables_saved_by_a_spreadsheet(tmp_path: Path) -> None:
    make(tmp_path, DOG)
    table = tmp_path / "meta" / "esc50.csv"
    table.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_esc50(tmp_path)) == 1


def test_other_folders_are_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: not an ESC-50 folder: it has no meta/esc50.csv"
    inner = make(tmp_path / "ESC-50-master", DOG)
    assert refusal(tmp_path).endswith(f"; is it {inner}?")


@pytest.mark.parametrize(
    ("row", "header", "text"),
    [
        ("1-1-A-0.wav,1,0,cat,False,1,A", HEADER, "row 3: 'cat' is not the category of target '0' in ESC-50"),
        ("1-1-A-0.wav,1,50,dog,False,1,A", HEADER, "row 3: 'dog' is not the category of target '50' in ESC-50"),
        ("1-1-A-0.wav,,0,dog,False,1,A", HEADER, "row 3: filename, fold, target, category, src_file must be filled in"),
        ("1-1-A-0.wav,1", HEADER, "row 3: expected 7 columns, got 2"),
        ("1-1-A-0.wav,1,0,dog", "filename,fold,target,class", "in its first row, got filename, fold, target, class"),
    ],
)
def test_damaged_tables_are_refused(tmp_path: Path, row: str, header: str, text: str) -> None:
    assert refusal(make(tmp_path, DOG, row, header=header)).endswith(text)


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    assert refusal(make(tmp_path)) == "ESC-50: a data set needs at least one clip, this one has none"


def test_missing_files_are_refused_or_listed(tmp_path: Path) -> None:
    make(tmp_path, DOG, RAIN)
    lost = tmp_path / "audio" / "5-17367-A-10.wav"
    lost.unlink()
    assert refusal(tmp_path) == f"{tmp_path}: 1 of 2 audio files are missing: {lost}"
    assert read_esc50(tmp_path, lenient=True).missing == ("5-17367-A-10",)


def test_lenient_allows_unknown_labels(tmp_path: Path) -> None:
    make(tmp_path, DOG, "5-17367-A-10.wav,5,10,drizzle,False,17367,A")
    assert refusal(tmp_path).endswith("row 3: 'drizzle' is not the category of target '10' in ESC-50")
    data = read_esc50(tmp_path, lenient=True)
    assert [clip.labels for clip in data] == [("dog",), ()]
    assert data.outside == (("5-17367-A-10", ("drizzle",)),)


def test_lenient_lists_damaged_rows(tmp_path: Path) -> None:
    make(tmp_path, DOG, DOG, RAIN)
    assert refusal(tmp_path).endswith("esc50.csv, row 3: 1-100032-A-0 is already in row 2 of esc50.csv")
    make(tmp_path, DOG, DOG, "1-1-A-0.wav,1", RAIN)
    data = read_esc50(tmp_path, lenient=True)
    assert [clip.labels for clip in data] == [("dog",), ("rain",)]
    assert [part for part, _ in data.damaged] == ["esc50.csv, row 3", "esc50.csv, row 4"]


def test_real_recordings_load(esc50_dir: Path) -> None:
    data = open_data(f"esc50:{esc50_dir}")
    assert len(data) >= 1597
    assert Counter(clip.split for clip in data)["1"] == 400
    assert data.targets().sum(axis=1).tolist() == [1.0] * len(data)
    check_disjoint(data.select(splits=["1", "2", "3"]), data.select(splits=["5"]))
    assert len(data.select(splits=["1"], labels=ESC10)) == 80
    audio = data[0].load(16000)
    assert audio.duration == 5.0
    assert 0.1 < np.abs(audio.waveform).max() <= 1.0
