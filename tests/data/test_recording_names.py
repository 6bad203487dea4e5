"""Recordings found by the names in annotations."""

import pytest

from earmark.data.recording_names import RecordingNames
from earmark.errors import DataError


@pytest.fixture
def found(tmp_path):
    for name in (
        "audio/site1/rec.wav",
        "audio/site2/rec.wav",
        "audio/one.WAV",
        "audio/two.flac",
        "audio/Gänse.wav",
        "audio/x.y.wav",
        "tables/near.wav",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    names = RecordingNames(tmp_path / "audio")
    return lambda written: names.find(written, tmp_path / "tables").relative_to(tmp_path).as_posix()


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("near.wav", "tables/near.wav"),
        ("../audio/one.WAV", "tables/../audio/one.WAV"),
        ("site1/rec.wav", "audio/site1/rec.wav"),
        ("L:\\ELP\\Site2\\rec.wav", "audio/site2/rec.wav"),
        ("/home/other/site1/rec.wav", "audio/site1/rec.wav"),
        ("one.wav", "audio/one.WAV"),
        ("two.wav", "audio/two.flac"),
        ("deep/folder/two", "audio/two.flac"),
        ("x.y", "audio/x.y.wav"),
        ("/data/upload/3/0225a044-one.wav", "audio/one.WAV"),
        ("Ga\u0308nse.wav", "audio/Gänse.wav"),
        ("G\udce4nse.wav", "audio/Gänse.wav"),
    ],
)
def test_a_recording_is_found(found, written, path):
    assert found(written) == path


@pytest.mark.parametrize("written", ["none.wav", "x.z", "one.1", "rec", "", "a\0b.wav", "n" * 300])
def test_a_name_of_no_or_of_several_recordings_is_refused(found, written):
    with pytest.raises(DataError, match="names 2 recordings" if written == "rec" else "no recording"):
        found(written)


def test_of_two_names_that_are_compared_as_equal_the_exact_one_is_taken(tmp_path):
    for name in ("\xe9.wav", "e\u0301.wav", "byte\udcff.wav"):
        (tmp_path / name).touch()
    find = RecordingNames(tmp_path).find
    for written in ("x/\xe9.wav", "x/e\u0301.wav", "x/byte\udcff.wav", "x/\xe9", "x/e\u0301", "x/byte\udcff"):
        assert find(written, tmp_path).stem == written[2:].removesuffix(".wav")


def test_an_error_in_a_folder_without_recordings_names_the_recording(tmp_path):
    with pytest.raises(DataError, match=r"^no recording 'x/a\.wav' in "):
        RecordingNames(tmp_path).find("x/a.wav", tmp_path)
