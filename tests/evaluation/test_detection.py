"""Detection metrics against strong labels."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data.audioset import StrongEvent
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.errors import AudioError, DataError
from earmark.evaluation.detection import detect
from earmark.inference.tagger import Tagger


class Levels:
    """A reader of segments with these means."""

    def __init__(self, *values):
        self.values = values

    def load(self, sample_rate):
        if not self.values:
            raise AudioError("no sound")
        return Audio(np.repeat(np.array(self.values, np.float32), 400), sample_rate)


@pytest.fixture
def tagger(mean_engine):
    return Tagger(mean_engine())


def dataset(tagger, **levels):
    clips = [Clip(id_.replace("_", "-"), (), Levels(*values)) for id_, values in levels.items()]
    return Dataset("made", tagger.labels, tuple(clips))


# the engine scores label /l high for a high level, /h for a negative one
EVENTS = {
    "a-x_30000": [StrongEvent("/l", 0.4, 1.2), StrongEvent("/other", 0.0, 1.0)],
    "b-x_0": [StrongEvent("/h", 0.8, 9.0), StrongEvent("/l", 0.0, 0.4), StrongEvent("/h", 0.2, 0.2)],
    "gone_0": [StrongEvent("/n", 0.0, 1.0)],
}
FOUND = {"a_x": (-0.001, 1, 1, -0.001), "b_x": (1, -0.001, -1)}


def test_perfect_detection(tagger):
    data = dataset(tagger, **FOUND, not_in_the_table=(0,))
    calls = []
    found = detect(
        tagger, data, EVENTS, window=0.4, hop=0.4, context=0.0, progress=lambda *numbers: calls.append(numbers)
    )
    assert (found.PSDS1, found.PSDS2) == (1.0, 1.0)
    assert (found.n_clips, found.n_labels, found.n_events) == (2, 2, 3)
    assert (found.n_clips_without_events, found.n_events_of_other_labels) == (1, 1)
    assert (found.window, found.hop, found.context, found.failed) == (0.4, 0.4, 0.0, ())
    assert calls == [(1, 2), (2, 2)]


def test_a_long_recording_is_read_in_blocks_with_the_same_result(tagger, tmp_path):
    levels = Levels(*np.random.default_rng(0).choice([-0.9, 0.5, 0.9], 160))
    audio = levels.load(tagger.sample_rate)
    save_audio(tmp_path / "long.wav", audio, subtype="FLOAT")
    (tmp_path / "cut.wav").write_bytes((tmp_path / "long.wav").read_bytes()[:-9000])
    events = {name: [StrongEvent("/l", 4.0, 8.0), StrongEvent("/h", 61.0, 62.0)] for name in ("a-x", "b-x")}
    whole = Clip("a-x", (), FileAudio(tmp_path / "long.wav"))
    cut = Clip("b-x", (), FileAudio(tmp_path / "cut.wav"))
    short = detect(tagger, Dataset("made", tagger.labels, (Clip("a-x", (), levels),)), events)
    long = detect(tagger, Dataset("made", tagger.labels, (whole, cut)), events)
    assert audio.duration > 60 and "cut.wav" in long.failed[0]
    assert replace(long, failed=()) == short


def test_misses_and_false_alarms(tagger):
    silent = detect(
        tagger, dataset(tagger, a_x=(1, -1, -1, 1), b_x=(-1, 1, 1)), EVENTS, window=0.4, hop=0.4, context=0.0
    )
    assert silent.PSDS1 < 0.5
    assert silent.F1 < 1


def test_detected_events_are_those_of_the_timeline(tagger):
    tagger.engine.thresholds = (0.9, 0.9, 0.9)
    data, events = dataset(tagger, a_x=(0, 1, 1, 0)), {"a-x_0": [StrongEvent("/l", 0.4, 1.2)]}
    found = detect(tagger, data, events, window=0.4, hop=0.4)
    assert (found.F1_events, found.n_detected, found.context) == (1.0, 1, 5.0)
    late = {"a-x_0": [StrongEvent("/l", 0.0, 0.8)]}
    assert detect(tagger, data, late, window=0.4, hop=0.4).F1_events == 0.0


def test_f1_is_the_mean_over_labels_and_micro_f1_counts_all_labels_together(tagger):
    # /l is detected in its three seconds and in one of /h, which is never detected
    events = {"a-x_0": [StrongEvent("/l", 0.0, 3.0)], "b-x_0": [StrongEvent("/h", 0.0, 1.0)]}
    found = detect(tagger, dataset(tagger, a_x=(1,) * 7, b_x=(0.5, 0.5)), events, window=0.4, hop=0.4, context=0.0)
    assert (found.F1, found.F1_micro) == pytest.approx((2 * 3 / (4 + 3) / 2, 2 * 3 / (4 + 4)))
    # no score reaches the thresholds of the checkpoint
    tagger.engine.thresholds = (1.0, 1.0, 1.0)
    assert detect(tagger, dataset(tagger, **FOUND), EVENTS, window=0.4, hop=0.4, context=0.0).F1 == 0.0


def test_clips_are_matched_by_segment_id_and_unreadable_ones_are_named(tagger):
    data = Dataset("made", tagger.labels, (Clip("a-x_30000", (), Levels(0, 1, 1, 0)), Clip("b-x", (), Levels())))
    found = detect(tagger, data, EVENTS)
    assert (found.n_clips, found.failed) == (1, ("b-x: no sound",))
    assert json.loads(json.dumps(found.to_json()))["n_events"] == 1


def test_clips_without_usable_events_are_refused(tagger):
    def refusal(data, events):
        with pytest.raises(DataError) as caught:
            detect(tagger, data, events)
        return str(caught.value)

    data = dataset(tagger, **FOUND)
    assert refusal(data, {"z_0": EVENTS["b-x_0"]}).startswith("made: none of its 2 clips has strong labels that the")
    assert refusal(data, {"a-x_0": [StrongEvent("/other", 0, 1)]}).startswith("made: none of its 2 clips has strong")
    twice = {**EVENTS, "a-x_40000": []}
    left_out = detect(tagger, data, twice)
    assert left_out.failed == ("a-x: expected one segment of the video, got a-x_30000, a-x_40000",)
    assert (left_out.n_clips, left_out.n_clips_without_events) == (1, 0)
    unclear = dataset(tagger, a_x=(0,))
    assert refusal(unclear, {**EVENTS, "a-x_40000": []}).endswith("knows; " + left_out.failed[0])
    assert refusal(dataset(tagger, a_x=(), b_x=()), EVENTS).endswith("can be read; a-x: no sound")


def test_readers_end_with_an_error(tagger, monkeypatch):
    monkeypatch.setattr(tagger, "timeline", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        detect(tagger, dataset(tagger, **FOUND), EVENTS)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")], caught
