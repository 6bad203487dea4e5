"""Recordings without labels."""

from pathlib import Path

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data.recordings import read_recordings
from earmark.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.wav", "deep/b.flac"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save_audio(tmp_path / name, Audio(np.zeros(800, np.float32), 16000))
    return tmp_path


def test_a_folder_is_searched_with_its_sub_folders(folder: Path) -> None:
    data = read_recordings(folder)
    assert [clip.id for clip in data] == ["a.wav", "deep/b.flac"] and not any(clip.labels for clip in data)
    assert data[1].load(16000).duration == 0.05


def test_a_table_needs_no_label_and_keeps_splits_and_groups(folder: Path) -> None:
    (folder / "clips.csv").write_text("path,labels,split,group\na.wav,,train,x\ndeep/b.flac,dog,test,y\n")
    data = read_recordings(folder / "clips.csv")
    assert [(clip.labels, clip.split, clip.group) for clip in data] == [((), "train", "x"), ((), "test", "y")]


@pytest.mark.parametrize("text", ["path,labels\n", "path,labels\nmissing.wav,\n", None])
def test_nothing_to_read_is_an_error(text: str | None, tmp_path: Path) -> None:
    path = tmp_path
    if text is not None:
        path = tmp_path / "clips.csv"
        path.write_text(text)
    with pytest.raises(DataError, match=str(path)):
        read_recordings(path)
