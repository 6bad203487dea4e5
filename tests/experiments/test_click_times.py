"""Clicks in videos: a few of the page's containers, and the page."""

from pathlib import Path

import numpy as np
import pytest

from experiments.click_times import FORMS, LIMIT, Errors, find_clicks, measure, page

CHOSEN = (
    "mp4, aac, 16 kHz",
    "mkv, mp3lame",
    "webm, opus, live, from 1 h on",
    "ts, aac, its clock begins again",
    "flv, aac",
    "avi, mp3lame",
)


@pytest.mark.parametrize("name", CHOSEN)
def test_clicks_lie_where_they_were_written(name: str, tmp_path: Path) -> None:
    pytest.importorskip("av")
    form = next(form for form in FORMS if str(form) == name)
    errors = measure(form, tmp_path)
    assert np.abs(errors.written).max() < LIMIT
    assert not form.is_counted or np.abs(errors.by_ffmpeg).max() < LIMIT


def test_clicks_are_found() -> None:
    waveform = np.zeros(8000, np.float32)
    waveform[1000] = waveform[5000] = 1.0
    assert find_clicks(waveform, 1000) == pytest.approx([1.0, 5.0], abs=0.001)


def test_the_page_has_a_row_for_each_form() -> None:
    pytest.importorskip("av")
    rows = [(form, Errors((0.001, -0.003), (0.0, 0.0))) for form in FORMS]
    text = page(rows)
    assert "| mp4, aac | 1.25 s, 1.5 s | -1.0, 3.0 | +0.0, 0.0 |" in text
    assert "| m4a, aac, no video | -, 1.5 s |" in text
    assert "| avi, mp3lame | 1.25 s, 1.5 s | -1.0, 3.0 | not counted |" in text
    assert len(FORMS) >= 30
