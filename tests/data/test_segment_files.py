"""Files of segments by their names."""

import pytest

from earmark.data.segment_files import list_files, match_files
from earmark.errors import DataError


def matched(names, **spans):
    spans = {video_id: (float(onset), float(offset)) for video_id, (onset, offset) in spans.items()}
    found = match_files(spans, {"/a": names})
    return {video_id: path.removeprefix("/a/") for video_id, path in found.paths.items()}


@pytest.mark.parametrize(
    "name",
    [
        "abc.wav",
        "abc.FLAC",
        "Yabc.wav",
        "abc_30.wav",
        "abc_30.5.wav",
        "abc_000030.wav",
        "abc_30500.wav",
        "abc_30.5_40.5.wav",
        "abc_30_40.mp3",
        "abc_31_41.wav",
        "abc_30500_40500.wav",
        "Yabc_30.500_40.500.wav",
    ],
)
def test_all_naming_schemes_match(name):
    assert matched([name], abc=(30.5, 40.5)) == {"abc": name}


@pytest.mark.parametrize(
    "name",
    ["abc.txt", "abc", "ab.wav", "abcd.wav", "abc_32.wav", "abc_30_60.wav", "abc_30_40500.wav", "abc_.wav", "y.wav"],
)
def test_other_names_do_not_match(name):
    assert matched([name], abc=(30.5, 40.5)) == {}


def test_ids_that_resemble_other_names_match():
    spans = {"abc": (30, 40), "abc_30": (0, 10), "Yabc": (5, 15), "abc_30_40": (1, 2)}
    bare = {video_id: f"{video_id}.wav" for video_id in spans}
    assert matched(list(bare.values()), **spans) == bare
    first = {video_id: f"Y{video_id}.wav" for video_id in spans}
    assert matched(list(first.values()), **spans) == first
    third = {video_id: f"{video_id}_{span[0]}.wav" for video_id, span in spans.items()}
    assert matched(list(third.values()), **spans) == third


def test_the_first_of_several_files_is_used_and_counted():
    found = match_files({"a": (0.0, 10.0)}, {"/y": ["a.wav"], "/x": ["a.wav", "a_0.wav", "b.wav", "a.txt"]})
    assert found.paths == {"a": "/x/a.wav"}
    assert (found.n_doubled, found.n_recordings) == (1, 4)


def test_folders_are_listed_once(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "1.wav").touch()
    (tmp_path / "a" / "._1.wav").touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "2.wav").touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert {place: names for place, names in list_files(str(tmp_path)).items() if names} == {
        str(tmp_path / "a" / "b"): ["1.wav"]
    }
    with pytest.raises(DataError, match="cannot be read: No such file"):
        list_files(str(tmp_path / "none"))
