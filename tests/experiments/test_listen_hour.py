"""The comparison of live events with those of the recording, and the page."""

import itertools
import json
import wave
from pathlib import Path

import pytest

from experiments.listen_hour import LOST, cut, join_clips, n_different, outside, page, without_partner
from tests.data.test_clips import made_esc50

EVENTS = [("dog", 1.0, 2.0), ("rain", 30.0, 90.0), ("dog", 200.0, 201.0)]
FIGURES = {
    "commit": "0123456789",
    "seconds": 3600.0,
    "speed": 20.0,
    "n_clips": 500,
    "n_events": 700,
    "pipe": {
        "took": 180.0,
        "messages": {"began": 701, "event": 700},
        "mqtt": {"began": 701, "event": 700},
        "memory": [[1.0, 200.0], [3600.0, 201.0]],
        "n_different": 0,
    },
    "http": {
        "took": 190.0,
        "n_events": 690,
        "lost": [6.0, 12.0],
        "late": [0.0, 3.2, 3.1],
        "n_different": 0,
        "n_outside": 650,
        "n_different_hour": 0,
        "memory": [[1.0, 300.0], [3590.0, 302.0]],
    },
}


def test_pieces_leave_out_what_is_lost() -> None:
    pieces = cut(3600.0)
    assert pieces[0][0] == 0 and pieces[-1][1] == 3600 and len(pieces) == len(LOST) + 1
    assert [later[0] - before[1] for before, later in itertools.pairwise(pieces)] == list(LOST)


def test_too_short_a_sound_is_refused() -> None:
    with pytest.raises(ValueError, match="minutes: "):
        cut(100.0)


def test_an_event_that_only_one_list_has_is_different() -> None:
    assert n_different(EVENTS, list(reversed(EVENTS)), 0.001) == 0
    assert n_different(EVENTS, EVENTS[1:], 0.001) == 1
    assert n_different(EVENTS, [*EVENTS[1:], ("dog", 1.0, 2.1)], 0.001) == 2
    assert without_partner([("cat", 1.0, 2.0)], EVENTS, 0.001) == [("cat", 1.0, 2.0)]


def test_events_near_an_interruption_are_left_out() -> None:
    assert outside(EVENTS, [(0.0, 99.9), (110.0, 300.0)]) == EVENTS[:1] + EVENTS[2:]
    assert outside(EVENTS, [(0.0, 100.0), (110.0, 300.0)]) == EVENTS


def test_clips_are_joined_with_silence(tmp_path: Path) -> None:
    made_esc50(tmp_path / "bank", sample_rate=16000)
    n_clips = join_clips(tmp_path / "bank", tmp_path / "a.wav", 3.0)
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() == 3 * 16000 and n_clips >= 1


def test_the_page_states_figures_and_memory() -> None:
    text = page(json.loads(json.dumps(FIGURES)))
    assert "0 events differ from those of `detect`" in text and "20.0 times as fast as the sound" in text
    assert "701 began, 700 event; a subscriber of the broker received 701 began, 700 event" in text
    assert "3.20 s wrong at most" in text
    assert "| 60.0 | 201.0 | 302.0 |" in text
