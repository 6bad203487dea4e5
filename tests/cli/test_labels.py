"""Labels and thresholds in files that people edit."""

from pathlib import Path

import pytest

from earmark.cli.labels import check_labels, labels_in, read_labels, read_thresholds, write_thresholds
from earmark.errors import DataError
from earmark.labels import LabelSet

LABELS = LabelSet(("dog", "Male speech, man speaking"), ("/d", "/s"))


def test_labels_joined_by_commas_may_have_commas() -> None:
    assert labels_in("/d, Male speech, man speaking", LABELS) == ("/d", "Male speech, man speaking")
    with pytest.raises(DataError, match="labels: expected names joined by commas, got ' ,'"):
        labels_in(" ,", LABELS)


@pytest.mark.parametrize(
    "text",
    [
        "dog\n\nMale speech, man speaking\n",
        "label\ndog\nMale speech, man speaking\n",
        '\ufefflabel,threshold\ndog,0.5\n"Male speech, man speaking",0.5\n',
        "threshold;label\n0,5;dog\n0,5;Male speech, man speaking\n0,1;dog\n",
    ],
)
def test_a_file_of_labels_is_a_list_or_a_table(tmp_path: Path, text: str) -> None:
    (tmp_path / "l.txt").write_text(text, encoding="utf-8")
    assert read_labels(tmp_path / "l.txt") == LABELS.names


def test_a_file_without_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("\n")
    with pytest.raises(DataError, match=r"l\.txt: a file with one label a line was expected"):
        read_labels(tmp_path / "l.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path / "gone.txt")
    with pytest.raises(DataError, match=r"l\.txt: unknown label 'dgo': did you mean 'dog'"):
        check_labels(tmp_path / "l.txt", ("dog", "dgo"), LABELS)


def test_written_thresholds_are_read_again(tmp_path: Path) -> None:
    thresholds = {"dog": 0.25, "Male speech, man speaking": 0.125}
    with (tmp_path / "t.csv").open("w") as stream:
        write_thresholds(thresholds, stream)
    assert (tmp_path / "t.csv").read_text() == 'label,threshold\ndog,0.25\n"Male speech, man speaking",0.125\n'
    assert read_thresholds(tmp_path / "t.csv") == thresholds
    (tmp_path / "t.csv").write_text("label;threshold\ndog;0,25\n")  # as a spreadsheet saves it
    assert read_thresholds(tmp_path / "t.csv") == {"dog": 0.25}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "label,threshold\ndog,half\n",
            "line 2, column threshold: a score from 0 to 1 was expected, not 'half'",
        ),
        ("label,threshold\ndog,1.5\n", "not '1.5'"),
        ("label,threshold\ndog,nan\n", "not 'nan'"),
        ("label,threshold\ndog,0.5\ndog,0.6\n", "line 3: 'dog' has a threshold already"),
        ("label,threshold\n", "a line for each label was expected"),
        ("dog,0.5\n", "needs the columns label, threshold"),
        ("label,threshold\ndog\n", "expected 2 columns, got 1"),
    ],
)
def test_faulty_thresholds_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_thresholds(tmp_path / "t.csv")
