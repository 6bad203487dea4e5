"""Names of folders and clips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.errors import DataError
from earmark.labels import check_label, normal_label
from earmark.review.names import clip_names, folder_of, label_of


def labels() -> st.SearchStrategy[str]:
    return st.text(max_size=20).map(normal_label).filter(is_label)


def is_label(text: str) -> bool:
    try:
        check_label(text)
    except DataError:
        return False
    return True


@given(labels())
def test_a_folder_is_one_safe_name_and_gives_its_label_back(label: str) -> None:
    folder = folder_of(label)
    assert label_of(folder) == label
    assert folder not in ("", ".", "..") and not set(folder) & set('/\\:*?"<>|\0')
    assert folder[0] not in "._" and folder[-1] not in ". "


@pytest.mark.parametrize("label", ["CON", "nul.txt", "plots", "Plots", "_noise", "%2F"])
def test_reserved_names_are_escaped(label: str) -> None:
    assert folder_of(label) != label and label_of(folder_of(label)) == label


def test_a_label_that_is_too_long_and_a_folder_that_is_no_label_are_refused() -> None:
    with pytest.raises(DataError, match="at most 200 bytes"):
        folder_of("ä" * 101)
    for folder in (" ", "%FF", "a%0Ab"):
        with pytest.raises(DataError, match="rename the folder"):
            label_of(folder)


def test_clips_of_odd_recordings_have_different_plain_names() -> None:
    recordings = [
        "../../etc/passwd",
        "..",
        "C:\\audio\\x.wav",
        "a/x.wav",
        "A/X.wav",
        "r\udcff.wav",
        "long" * 99,
        "",
        "-x.wav",
    ]
    names = clip_names([(recording, 1.0, None) for recording in recordings], ".flac")
    assert names[:3] == ["passwd_00001.00s.flac", "recording_00001.00s.flac", "x_00001.00s.flac"]
    assert len({name.casefold() for name in names}) == len(names)
    assert not any(name.startswith("-") for name in names)  # a player would take it for an option
    assert all(len(name.encode()) < 130 and not set(name) & set("/\\\0\udcff") for name in names)
