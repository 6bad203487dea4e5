"""Clips of live events."""

from pathlib import Path
from threading import Event

import numpy as np
import pytest
import soundfile

from earmark.audio.recording import load_audio
from earmark.inference.events import Event as Sound
from earmark.listening.budget import Budget
from earmark.listening.clips import ClipConfig, ClipFolder, RecentSound
from tests.listening.conftest import RATE, Player


def folder(path: Path, per_hour: int | None = None, report=pytest.fail, **config: float) -> ClipFolder:
    return ClipFolder(path, ClipConfig(**config), Budget(per_hour), report)


def clips(messages) -> list[str | None]:
    return [message.clip for message in messages if message.type == "event"]


def test_a_clip_has_the_event_and_the_sound_before_it(levels, listening, tmp_path):
    waveform = levels(*[-0.1] * 10, *[0.5] * 3, *[-0.11] * 10).waveform
    (clip,) = clips(listening(Player(waveform), clips=folder(tmp_path, pre_roll=1.5)).messages(Event()))
    assert Path(clip).parent == tmp_path / "low" and clip.endswith("_00004.00s_0.993.flac")
    assert soundfile.info(clip).format == "FLAC"
    np.testing.assert_allclose(load_audio(clip, RATE).waveform, waveform[2500:5200], atol=1e-4)
    assert [path.name for path in tmp_path.rglob("*.*")] == [Path(clip).name]


def test_the_first_part_of_a_long_event_is_saved_while_it_lasts(levels, listening, tmp_path):
    waveform = levels(*[-0.1] * 5, *[0.5] * 200, -0.1, -0.1).waveform
    listener = listening(Player(waveform), clips=folder(tmp_path, longest_clip=4.0, pre_roll=1.0))
    saved = [message for message in listener.messages(Event()) if message.type == "event"]
    assert [(m.onset, m.offset) for m in saved] == [pytest.approx((2, 82))]
    assert load_audio(saved[0].clip, RATE).duration == 5


def test_a_clip_does_not_reach_into_the_time_before_a_gap(levels, listening, tmp_path):
    quiet, loud = levels(-0.1, -0.1, -0.1).waveform, levels(-0.1, 0.5, 0.5, -0.1).waveform
    (clip,) = clips(listening(Player(quiet, loud, lost=9.0), clips=folder(tmp_path, pre_roll=2.0)).messages(Event()))
    assert load_audio(clip, RATE).duration == pytest.approx(1.2)


def test_an_hour_has_as_many_clips_as_the_budget(levels, listening, tmp_path):
    waveform = levels(*[-0.1, -0.1, 0.5, -0.1, -0.1] * 4).waveform
    found = clips(listening(Player(waveform), clips=folder(tmp_path, per_hour=2)).messages(Event()))
    assert [clip is None for clip in found] == [False, False, True, True]
    assert len(list(tmp_path.rglob("*.flac"))) == 2


def test_a_clip_that_cannot_be_saved_is_reported_and_the_listening_continues(levels, listening, tmp_path):
    (tmp_path / "low").write_text("no folder")
    lines = []
    messages = [
        *listening(Player(levels(-0.1, 0.5, -0.1).waveform), clips=folder(tmp_path, report=lines.append)).messages(
            Event()
        )
    ]
    assert clips(messages) == [None] and messages[-1].type == "finished"
    assert len(lines) == 1 and str(tmp_path / "low") in lines[0]


def test_a_clip_that_cannot_be_saved_does_not_count_for_the_hour(levels, listening, tmp_path):
    waveform = levels(-0.1, 0.5, -0.1, 0.5, -0.1).waveform
    obstacle, lines = tmp_path / "low", []
    obstacle.write_text("no folder")

    def remove(line: str) -> None:
        lines.append(line)
        obstacle.unlink()

    found = clips(listening(Player(waveform), clips=folder(tmp_path, report=remove, per_hour=1)).messages(Event()))
    assert len(lines) == 1 and [clip is None for clip in found] == [True, False]


def test_clips_that_cannot_be_saved_are_reported_once_an_hour(levels, listening, tmp_path):
    (tmp_path / "low").write_text("no folder")
    lines = []
    waveform = levels(-0.1, 0.5, -0.1, 0.5, -0.1).waveform
    found = clips(listening(Player(waveform), clips=folder(tmp_path, report=lines.append)).messages(Event()))
    assert found == [None, None] and len(lines) == 1


def test_clips_of_recordings_without_a_time_do_not_replace_each_other(levels, listening, tmp_path):
    waveform = levels(-0.1, 0.5, -0.1).waveform
    for recording in ("day 1/street.wav", "day 1/garden.wav"):
        clips = ClipFolder(tmp_path, ClipConfig(), Budget(None), pytest.fail, recording)
        assert list(listening(Player(waveform), is_live=False, clips=clips).messages(Event()))
    assert sorted(path.name.split("_")[0] for path in tmp_path.rglob("*.flac")) == ["garden", "street"]


def test_labels_and_names_stay_inside_the_folder(tmp_path):
    sound = RecentSound(RATE, 10.0)
    sound.push(np.zeros((1, 3000), np.float32))
    saved = folder(tmp_path / "clips").save(sound, Sound("../up", 0.0, 2.0, 0.5), 0.0, None)
    assert Path(saved).resolve().is_relative_to(tmp_path / "clips")


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32])
def test_recent_sound_keeps_the_seconds_that_it_must_and_few_more(dtype):
    scale = 1 if dtype == np.float32 else np.iinfo(dtype).max
    wave = (np.sin(np.arange(50_000) / 9) * 0.9 * scale).astype(dtype)
    sound = RecentSound(RATE, 5.0)
    for start in range(0, 50_000, 130):
        sound.push(wave[None, start : start + 130])
    held = sound.cut(0.0, 1e6)
    assert 5000 <= held.shape[1] < 5130
    np.testing.assert_allclose(held[0] / 32768, wave[-held.shape[1] :] / scale, atol=1e-3)
    np.testing.assert_array_equal(sound.cut(47.0, 48.5)[0], held[0][-3000:-1500])
    assert sound.cut(1.0, 2.0).shape == (1, 0)
