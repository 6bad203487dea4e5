"""Tagger over an engine of a few lines of NumPy, then over a real network."""

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark.audio.recording import Audio, load_audio, save_audio
from earmark.errors import AudioError, ConfigError, DataError
from earmark.inference.tagger import Tagger
from earmark.labels import LabelSet

RATE = 1000
Levels = Callable[..., Audio]
LABELS = LabelSet(("low", "high", "never"), ("/l", "/h", "/n"))


def sigmoid(logit: float) -> float:
    return 1 / (1 + np.exp(-logit))


@pytest.fixture
def tagger(mean_engine: type) -> Tagger:
    return Tagger(mean_engine())


# tags


def test_tags_come_by_falling_score(tagger: Tagger, levels: Levels) -> None:
    tags = tagger.tag(levels(0.1, 0.3))
    assert [tag.label for tag in tags] == ["low", "high", "never"]
    assert tags[0].score == pytest.approx(sigmoid(2.0), rel=1e-6)
    assert tags[2].score == pytest.approx(sigmoid(-9.0), rel=1e-6)
    assert tagger.tag(levels(0.1, 0.3), top=1) == tags[:1]
    assert tagger.tag(levels(0.1, 0.3), top=99) == tags


def test_equal_scores_keep_the_order_of_the_labels(mean_engine: Any, levels: Levels) -> None:
    class Even(mean_engine):
        labels = LabelSet(tuple(f"label {i:02d}" for i in range(40)))

        def classify(self, segments: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
            return (np.arange(40.0) % 2)[None]

    names = Even.labels.names
    assert [tag.label for tag in Tagger(Even()).tag(levels(0.0), top=40)] == [*names[1::2], *names[::2]]


def test_threshold_takes_all_labels_that_reach_it(tagger: Tagger, levels: Levels) -> None:
    assert [tag.label for tag in tagger.tag(levels(0.0), threshold=0.5)] == ["low", "high"]
    assert tagger.tag(levels(0.0), threshold=0.6) == []


def test_five_tags_by_default(mean_engine: Any, levels: Levels) -> None:
    class Many(mean_engine):
        labels = LabelSet(tuple("abcdefgh"))

        def classify(self, segments: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
            return np.arange(8.0)[None]

    assert [tag.label for tag in Tagger(Many()).tag(levels(0.0))] == list("hgfed")


def test_extreme_logits_neither_overflow_nor_vanish(mean_engine: Any, levels: Levels) -> None:
    class Extreme(mean_engine):
        def classify(self, segments: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
            return np.array([[1e4, -50.0, -1e4]])

    with np.errstate(all="raise", under="ignore"):
        tags = Tagger(Extreme()).tag(levels(0.0))
    assert [tag.label for tag in tags] == ["low", "high", "never"]
    np.testing.assert_allclose([tag.score for tag in tags], [1.0, np.exp(-50), 0.0], rtol=1e-6)


def test_only_the_chosen_labels_become_tags(tagger: Tagger, levels: Levels) -> None:
    scores = tagger.score(levels(0.1, 0.3))
    assert [tag.label for tag in scores.tags(labels=["never", "high"], top=1)] == ["high"]
    assert [tag.label for tag in scores.tags(labels=["never", "high"])] == ["high", "never"]
    assert scores.tags(labels=["never"], threshold=0.5) == []
    with pytest.raises(DataError, match="unknown label 'lo'"):
        scores.tags(labels=["lo"])


def test_invalid_settings_are_refused(tagger: Tagger, levels: Levels) -> None:
    with pytest.raises(ConfigError, match="top: expected either a number of tags or a threshold"):
        tagger.tag(levels(0.0), top=3, threshold=0.5)
    with pytest.raises(ConfigError, match="top: a positive whole number was expected, not 0"):
        tagger.tag(levels(0.0), top=0)
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="threshold: a score from 0 to 1"):
            tagger.tag(levels(0.0), threshold=threshold)


def test_a_path_and_an_audio_of_any_rate_and_channels_give_the_same_tags(tagger: Tagger, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stereo = Audio((rng.standard_normal((2, 8820)) / 10 + 0.05).astype(np.float32), 4410)
    save_audio(tmp_path / "stereo.wav", stereo, subtype="FLOAT")
    from_path = tagger.tag(str(tmp_path / "stereo.wav"))
    assert from_path == tagger.tag(tmp_path / "stereo.wav") == tagger.tag(load_audio(tmp_path / "stereo.wav", RATE))
    from_audio = tagger.tag(stereo)
    assert [tag.label for tag in from_audio] == [tag.label for tag in from_path]
    np.testing.assert_allclose([t.score for t in from_audio], [t.score for t in from_path], rtol=1e-3)


@pytest.mark.parametrize("audio", [np.zeros(400, np.float32), [0.0] * 400, b"x.wav", None])
def test_a_bare_array_is_refused(tagger: Tagger, unchecked: None, audio: object) -> None:
    with pytest.raises(AudioError, match=r"a path or earmark.Audio\(waveform, sample_rate\) was expected"):
        tagger.tag(audio)  # type: ignore[arg-type]


def test_a_missing_file_is_reported(tagger: Tagger, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nothing\.wav"):
        tagger.tag(tmp_path / "nothing.wav")


def test_auto_takes_the_threshold_of_each_label(mean_engine: Any, levels: Levels) -> None:
    tagger = Tagger(mean_engine(thresholds=(0.9, 0.1, 0.5)))
    assert tagger.thresholds == (0.9, 0.1, 0.5)
    assert [tag.label for tag in tagger.tag(levels(0.1), threshold="auto")] == ["high"]
    assert [tag.label for tag in tagger.tag(levels(0.3), threshold="auto")] == ["low"]
    assert [tag.label for tag in tagger.tag(levels(0.1), threshold=0.7)] == ["low"]
    with pytest.raises(ConfigError, match=r"no thresholds of its own for 'auto'; give a score, or .*calibrate"):
        Tagger(mean_engine()).tag(levels(0.1), threshold="auto")


def test_auto_is_the_only_named_threshold(tagger: Tagger, levels: Levels, unchecked: None) -> None:
    with pytest.raises(ConfigError, match="a score from 0 to 1 or 'auto' was expected, not 'most'"):
        tagger.tag(levels(0.1), threshold="most")  # type: ignore[arg-type]


# long recordings


def test_a_long_recording_scores_the_mean_of_its_best_windows(mean_engine: Any, levels: Levels) -> None:
    loud = [0.0] * 300
    loud[201:206] = [0.5] * 5
    tagger = Tagger(mean_engine(clip_duration=5.0))
    scores = {tag.label: tag.score for tag in tagger.tag(levels(*loud, last=7))}
    timeline = tagger.timeline(levels(*loud, last=7), window=2.0, hop=0.5, context=0.0)
    logits = np.log(timeline.scores / (1 - timeline.scores))
    expected = 1 / (1 + np.exp(-np.sort(logits, axis=0)[-3:].mean(axis=0)))
    assert scores == pytest.approx(dict(zip(LABELS.names, expected.tolist(), strict=True)), rel=1e-4)
    assert scores["low"] > sigmoid(3.5) and scores["high"] == pytest.approx(0.5)
    assert all(n <= 100 for n in tagger.engine.n_bags)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("n_segments", "whole"), [(10, True), (11, True), (12, False)])
def test_long_means_longer_than_the_training_clips(
    mean_engine: Any, levels: Levels, n_segments: int, whole: bool
) -> None:
    recording = levels(0.5, *[0.0] * (n_segments - 1))
    assert Tagger(mean_engine(clip_duration=4.0)).is_long(recording.duration) == (not whole)
    scores = {tag.label: tag.score for tag in Tagger(mean_engine(clip_duration=4.0)).tag(recording)}
    # windows of four segments, one after the other; the first alone holds the loud one
    assert scores["low"] == pytest.approx(sigmoid(5 / n_segments if whole else 5 / 4 / 3))


@pytest.mark.parametrize("last", [1, 400])
def test_windows_that_the_end_cuts_off_do_not_compete(mean_engine: Any, levels: Levels, last: int) -> None:
    recording = levels(*[0.0] * 99, 0.5, last=last)
    tagger = Tagger(mean_engine(clip_duration=4.0))
    scores = {tag.label: tag.score for tag in tagger.tag(recording)}
    assert scores["low"] == pytest.approx(sigmoid(5 / 4 / 3))
    evidence = tagger.evidence(recording, "low")
    assert len(evidence.weights) == 10 and evidence.offsets[-1] == pytest.approx(recording.duration)


def test_evidence_of_a_long_recording_is_that_of_its_best_window(mean_engine: Any, levels: Levels) -> None:
    values = [0.0] * 200
    values[152] = 0.5
    tagger = Tagger(mean_engine(clip_duration=4.0))
    evidence = tagger.evidence(levels(*values), "low")
    assert len(evidence.weights) == 10
    assert evidence.onsets[evidence.weights.argmax()] == pytest.approx(152 * 0.4)
    assert evidence.score == pytest.approx(sigmoid(0.5))


# timeline


def test_the_whole_recording_as_one_window_is_its_tags(tagger: Tagger, levels: Levels) -> None:
    recording = levels(0.3, -0.1, 0.2, last=100)
    scores = {tag.label: tag.score for tag in tagger.tag(recording)}
    timeline = tagger.timeline(recording, window=99.0, hop=99.0)
    np.testing.assert_allclose(timeline.scores, [[scores[name] for name in timeline.labels]], rtol=1e-6)
    assert (timeline.window, timeline.hop, timeline.duration) == (99.0, 99.0, recording.duration)
    assert timeline.labels == LABELS.names and timeline.thresholds is None


def test_window_and_hop_have_limits(tagger: Tagger, levels: Levels) -> None:
    with pytest.raises(ConfigError, match=r"window: at least 0.4 s, the length of one segment .* not 0.3"):
        tagger.timeline(levels(0.0), window=0.3)
    for hop in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"hop: at least 0.001 s was expected"):
            tagger.timeline(levels(0.0), hop=hop)


# evidence, embedding


def test_evidence_names_the_file(tagger: Tagger, levels: Levels, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'low'"):
        tagger.evidence(levels(0.1, 0.2), "lwo")
    with pytest.raises(AudioError, match=r"^expected a recording of several segments, got 0.40 s"):
        tagger.evidence(levels(0.1), "low")
    save_audio(tmp_path / "short.wav", levels(0.1))
    with pytest.raises(AudioError, match=r"short\.wav: expected a recording of several segments"):
        tagger.evidence(tmp_path / "short.wav", "low")


def test_evidence_has_the_score_of_the_tag(tagger: Tagger, levels: Levels) -> None:
    evidence = tagger.evidence(levels(0.3, -0.2, 0.1), "/l")
    assert evidence.label == "low" and len(evidence.weights) == 3
    assert tagger.tag(levels(0.3, -0.2, 0.1))[0].score == pytest.approx(evidence.score)


def test_embedding_is_the_pooled_clip(tagger: Tagger, levels: Levels) -> None:
    np.testing.assert_allclose(tagger.embed(levels(0.1, 0.3)), [0.2, 0.2], rtol=1e-6)


def test_repr_and_facts_of_a_tagger(tagger: Tagger, mean_engine: Any) -> None:
    assert tagger.labels == LABELS
    assert (tagger.sample_rate, tagger.seconds_per_segment) == (RATE, 0.4)
    assert repr(tagger) == f"Tagger(MeanEngine: {len(LABELS)} labels, {RATE} Hz, 0.4 s a segment)"


def test_a_set_event_cancels_the_scoring(mean_engine: Any, tmp_path: Path) -> None:
    cancel = threading.Event()

    class Cancelling(mean_engine):
        def encode(self, waveform: np.ndarray) -> np.ndarray:
            cancel.set()
            return super().encode(waveform)

    save_audio(tmp_path / "long.wav", Audio(np.zeros(200 * RATE, np.float32), RATE))
    engine = Cancelling()
    with pytest.raises(CancelledError):
        Tagger(engine).score(tmp_path / "long.wav", cancel=cancel)
    assert engine.n_encoded == 1


# a real network


@pytest.fixture(scope="module", params=["cnn", "light"])
def real(request: pytest.FixtureRequest) -> Tagger:
    import torch

    from earmark.inference.torch_engine import TorchEngine
    from earmark.model.frontend import FrontendConfig
    from earmark.model.network import Network, NetworkConfig

    torch.manual_seed(0)
    return Tagger(TorchEngine(Network(NetworkConfig(FrontendConfig.at_16k(), request.param, width=4), LABELS)))


def noise(seconds: float) -> Audio:
    rng = np.random.default_rng(5)
    return Audio((rng.standard_normal(round(seconds * 16000)) / 10).astype(np.float32), 16000)


def test_tags_have_the_scores_of_the_network(real: Tagger) -> None:
    import torch

    recording = noise(3.3)
    network = real.engine.network  # type: ignore[attr-defined]
    with torch.inference_mode():
        scores = network(torch.from_numpy(recording.waveform)[None])[0].sigmoid()
    for tag in real.tag(recording):
        assert tag.score == pytest.approx(float(scores[LABELS.index(tag.label)]), rel=1e-4)


def test_a_network_s_timeline_and_evidence(real: Tagger) -> None:
    recording = noise(3.3)
    timeline = real.timeline(recording, window=99.0, hop=0.4)
    assert timeline.scores.shape == (9, 3)
    by_label = {tag.label: tag.score for tag in real.tag(recording)}
    np.testing.assert_allclose(timeline.scores[0], [by_label[name] for name in LABELS], rtol=1e-4)
    evidence = real.evidence(recording, "low")
    assert evidence.weights.shape == evidence.onsets.shape == (9,)
    assert evidence.attention is not None
    np.testing.assert_allclose(evidence.attention.sum(axis=1), 1, rtol=1e-5)
    assert real.embed(recording).shape == (64,)


def test_chunks_equal_the_whole_recording(real: Tagger, tmp_path: Path) -> None:
    """Encoded whole, and piece by piece from a file at another rate: the same scores to 1e-4."""
    import torch

    recording = Audio(noise(190.0).waveform[:-500], 22050)
    save_audio(tmp_path / "long.wav", recording, subtype="FLOAT")
    waveform = load_audio(tmp_path / "long.wav", 16000).waveform
    network = real.engine.network  # type: ignore[attr-defined]
    with torch.inference_mode():
        whole = network.encode(torch.from_numpy(waveform)[None])
        logits = network.classify(whole[:, 50:75])
        pooled = network.pooling(whole)[0].numpy()
    timeline = real.timeline(tmp_path / "long.wav", window=10.0, hop=10.0)
    assert timeline.duration == len(waveform) / 16000
    np.testing.assert_allclose(timeline.scores[2], logits[0].sigmoid().numpy(), atol=1e-4)
    np.testing.assert_allclose(real.embed(tmp_path / "long.wav"), pooled, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("seconds", [1 / 16000, 0.01, 0.39])
def test_a_network_takes_the_shortest_recordings(real: Tagger, seconds: float) -> None:
    assert len(real.tag(noise(seconds))) == 3
    assert len(real.timeline(noise(seconds)).onsets) == 1


def test_the_module_does_not_import_pytorch() -> None:
    code = "import sys, earmark.inference.tagger, earmark.hub; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_scores_and_embedding_come_from_one_pass(mean_engine: Any, levels: Callable[..., Audio]) -> None:
    n_encoded = 0

    class Counted(mean_engine):
        def encode(self, waveform: np.ndarray) -> np.ndarray:
            nonlocal n_encoded
            n_encoded += waveform.size
            return super().encode(waveform)

    tagger = Tagger(Counted())
    for values in ((0.1, 0.4), np.random.default_rng(0).uniform(-0.4, 0.4, 200).tolist()):
        recording = levels(*values)
        expected, embedding = tagger.score(recording), tagger.embed(recording)
        before, n_encoded = n_encoded // 2, 0
        scores, embedded = tagger.score_and_embed(recording)
        assert n_encoded == before
        np.testing.assert_array_equal(scores.scores, expected.scores)
        np.testing.assert_array_equal(embedded, embedding)
        assert scores.duration == expected.duration
        n_encoded = 0


def test_an_encoded_recording_gives_all_results_without_another_pass(mean_engine, levels) -> None:
    engine = mean_engine(clip_duration=2.0)
    tagger, audio = Tagger(engine), levels(0.1, 0.2, 0.9, 0.3, 0.0, 0.4, 0.5, last=100)
    encoded = tagger.encode(audio)
    n_encoded = engine.n_encoded
    assert encoded.duration == audio.duration and tagger.encode(encoded) is encoded
    results = [
        (
            tagger.score(given).scores,
            tagger.timeline(given).scores,
            tagger.evidence(given, "low").weights,
            tagger.embed(given),
        )
        for given in (encoded, audio)
    ]
    for of_encoded, of_audio in zip(*results, strict=True):
        np.testing.assert_allclose(of_encoded, of_audio, atol=1e-6)
    assert n_encoded > 0
    engine.n_encoded = 0
    tagger.score_and_embed(encoded)
    assert engine.n_encoded == 0


def test_what_progress_raises_ends_the_encoding(mean_engine, levels) -> None:
    def stop(seconds: float) -> None:
        raise InterruptedError(seconds)

    with pytest.raises(InterruptedError):
        Tagger(mean_engine()).encode(levels(0.1, 0.2), progress=stop)
