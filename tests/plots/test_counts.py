"""Picture of numbers of events."""

from pathlib import Path

import pytest

from earmark.plots import plot_counts

pytest.importorskip("matplotlib")
HOURS = [f"{hour:02d}" for hour in range(24)]


def test_labels_by_hour_with_the_numbers_in_the_cells(tmp_path: Path) -> None:
    plot_counts(tmp_path / "h.svg", {("dog", "05"): 12, ("rain & wind", "05"): 7}, HOURS, "hour", title="Events")
    assert (tmp_path / "h.svg").read_text().startswith("<?xml")
    plot_counts(tmp_path / "h.png", {("dog", "05"): 12}, HOURS, "hour")
    assert (tmp_path / "h.png").read_bytes().startswith(b"\x89PNG")


def test_the_most_frequent_labels_are_drawn(tmp_path: Path, saved_figures: list) -> None:
    days = [f"2024-05-{day:02d}" for day in range(1, 32)] + ["2024-06-01"]
    counts = {(f"label {n:02d}", day): n for n in range(1, 61) for day in days}
    plot_counts(tmp_path / "d.png", counts, days, "day", title="Events")
    (figure,) = saved_figures
    panel = figure.axes[0]
    names = [text.get_text() for text in panel.get_yticklabels()]
    assert names[0] == "label 60" and names[-1] == "label 21" and len(names) == 40
    assert panel.get_xlabel() == "day"
    assert [text.get_text() for text in panel.get_xticklabels()][:2] == ["2024-05-01", "2024-05-03"]
    assert any("40 of 60 labels" in text.get_text() for text in panel.texts)
    image = panel.images[0].get_array()
    assert image.shape == (40, 32) and image[0, 0] == 60 and image[-1, -1] == 21


def test_letters_that_the_font_lacks_are_drawn_without_a_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    plot_counts(tmp_path / "h.png", {("鳥", "05"): 12}, HOURS, "hour", title="鳥")
    assert not recwarn.list and (tmp_path / "h.png").exists()
