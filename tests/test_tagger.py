"""Tagger over an engine of a few lines of NumPy, then over a real network."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import earmark.tagger as tagger_module
from earmark.audio import Audio, load_audio, save_audio
from earmark.errors import AudioError, ConfigError, DataError
from earmark.labels import LabelSet
from earmark.tagger import Event, Tagger, Timeline

RATE = 1000
STEP = 400  # samples of a segment of 0.4 s
LABELS = LabelSet(("low", "high", "never"), ("/l", "/h", "/n"))


class MeanEngine:
    """Segments are means of 0.4 s; the logits of a bag are 10 x its mean, its negative, and a constant."""

    labels = LABELS
    sample_rate = RATE
    seconds_per_segment = 0.4

    def __init__(self, attentive: bool = True) -> None:
        self.attentive = attentive
        self.n_encoded = 0
        self.n_bags: list[int] = []
        self.n_given: list[int] = []

    def encode(self, waveform: np.ndarray) -> np.ndarray:
        self.n_encoded += 1
        blocks = [waveform[i : i + STEP].mean() for i in range(0, len(waveform), STEP)]
        return np.repeat(np.array(blocks, dtype=np.float32)[:, None], 2, axis=1)

    def pool(self, segments: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        bags = [np.ones(len(segments), bool)] if masks is None else list(masks)
        if not all(mask.any() for mask in bags):
            raise ValueError("empty bag")
        self.n_bags.append(len(bags))
        self.n_given.append(len(segments))
        return np.stack([segments[mask].mean(0) for mask in bags])

    def classify(self, segments: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        level = 10 * self.pool(segments, masks)[:, 0]
        return np.stack([level, -level, np.full_like(level, -9)], axis=1)

    def attention(self, segments: np.ndarray) -> np.ndarray:
        if not self.attentive:
            raise ConfigError("this pooling has no attention")
        return np.full((2, len(segments)), 1 / len(segments), dtype=np.float32)


def levels(*values: float, last: int = STEP) -> Audio:
    """A recording whose segments have these means; the last one has `last` samples."""
    waveform = np.repeat(np.array(values, dtype=np.float32), STEP)
    return Audio(waveform[: len(waveform) - STEP + last], RATE)


def sigmoid(logit: float) -> float:
    return 1 / (1 + np.exp(-logit))


@pytest.fixture
def engine() -> MeanEngine:
    return MeanEngine()


@pytest.fixture
def tagger(engine: MeanEngine) -> Tagger:
    return Tagger(engine)


# tags


def test_tags_come_by_falling_score(tagger: Tagger) -> None:
    tags = tagger.tag(levels(0.1, 0.3))
    assert [tag.label for tag in tags] == ["low", "high", "never"]
    assert tags[0].score == pytest.approx(sigmoid(2.0), rel=1e-6)
    assert tags[2].score == pytest.approx(sigmoid(-9.0), rel=1e-6)
    assert tagger.tag(levels(0.1, 0.3), top=1) == tags[:1]
    assert tagger.tag(levels(0.1, 0.3), top=99) == tags


def test_equal_scores_keep_the_order_of_the_labels() -> None:
    class Even(MeanEngine):
        labels = LabelSet(tuple(f"label {i:02d}" for i in range(40)))

        def classify(self, segments: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
            return (np.arange(40.0) % 2)[None]

    names = Even.labels.names
    assert [tag.label for tag in Tagger(Even()).tag(levels(0.0), top=40)] == [*names[1::2], *names[::2]]


def test_threshold_takes_as_many_as_reach_it(tagger: Tagger) -> None:
    assert [tag.label for tag in tagger.tag(levels(0.0), threshold=0.5)] == ["low", "high"]
    assert tagger.tag(levels(0.0), threshold=0.6) == []


def test_five_tags_unless_told_otherwise() -> None:
    class Many(MeanEngine):
        labels = LabelSet(tuple("abcdefgh"))

        def classify(self, segments: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
            return np.arange(8.0)[None]

    assert [tag.label for tag in Tagger(Many()).tag(levels(0.0))] == list("hgfed")


def test_extreme_logits_neither_overflow_nor_vanish() -> None:
    class Extreme(MeanEngine):
        def classify(self, segments: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
            return np.array([[1e4, -50.0, -1e4]])

    with np.errstate(all="raise", under="ignore"):
        tags = Tagger(Extreme()).tag(levels(0.0))
    assert [tag.label for tag in tags] == ["low", "high", "never"]
    np.testing.assert_allclose([tag.score for tag in tags], [1.0, np.exp(-50), 0.0], rtol=1e-12)


def test_settings_outside_what_they_can_be(tagger: Tagger) -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        tagger.tag(levels(0.0), top=3, threshold=0.5)
    with pytest.raises(ConfigError, match="top: a positive whole number was expected, not 0"):
        tagger.tag(levels(0.0), top=0)
    for threshold in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="threshold: a score from 0 to 1"):
            tagger.tag(levels(0.0), threshold=threshold)


def test_a_path_and_an_audio_of_any_rate_and_channels_mean_the_same(tagger: Tagger, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    stereo = Audio((rng.standard_normal((2, 8820)) / 10 + 0.05).astype(np.float32), 4410)
    save_audio(tmp_path / "stereo.wav", stereo, subtype="FLOAT")
    from_path = tagger.tag(str(tmp_path / "stereo.wav"))
    assert from_path == tagger.tag(tmp_path / "stereo.wav") == tagger.tag(load_audio(tmp_path / "stereo.wav", RATE))
    from_audio = tagger.tag(stereo)
    assert [tag.label for tag in from_audio] == [tag.label for tag in from_path]
    np.testing.assert_allclose([t.score for t in from_audio], [t.score for t in from_path], rtol=1e-3)


@pytest.mark.parametrize("audio", [np.zeros(400, np.float32), [0.0] * 400, b"x.wav", None])
def test_a_bare_array_is_refused(audio: object) -> None:
    with pytest.raises(AudioError, match=r"a path or earmark.Audio\(waveform, sample_rate\) was expected"):
        tagger_module._mono(audio, RATE)


def test_a_file_that_is_not_there(tagger: Tagger, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nothing\.wav"):
        tagger.tag(tmp_path / "nothing.wav")


# timeline


def reference_timeline(means: list[float], duration: float, window: float, hop: float) -> tuple[list, list]:
    """First column of the scores by the definition, window by window, in exact tenths of a millisecond."""
    step, total = 4000, round(duration * 1e4)
    middles = [(i * step + min((i + 1) * step, total)) / 2 for i in range(len(means))]
    onsets, scores = [], []
    k = 0
    while k * round(hop * 1e4) <= middles[-1]:
        onset = k * round(hop * 1e4)
        inside = [m for m, middle in zip(means, middles, strict=True) if onset <= middle < onset + window * 1e4]
        onsets.append(onset / 1e4)
        scores.append(sigmoid(10 * np.mean(inside)))
        k += 1
    return onsets, scores


@pytest.mark.parametrize("last", [1, 150, 200, 399, 400])
@pytest.mark.parametrize(("window", "hop"), [(0.4, 0.4), (2.0, 0.4), (1.0, 0.1), (0.5, 0.7), (60.0, 3.0), (0.4, 0.2)])
def test_timeline_equals_its_definition(engine: MeanEngine, window: float, hop: float, last: int) -> None:
    means = np.random.default_rng(1).uniform(-0.5, 0.5, 13).astype(np.float32)
    recording = levels(*means.tolist(), last=last)
    timeline = Tagger(engine).timeline(recording, window=window, hop=hop)
    onsets, scores = reference_timeline(means.tolist(), recording.duration, window, hop)
    np.testing.assert_allclose(timeline.onsets, onsets, atol=1e-9)
    np.testing.assert_allclose(timeline.scores[:, 0], scores, rtol=1e-5)
    np.testing.assert_allclose(timeline.scores[:, 0] + timeline.scores[:, 1], 1, rtol=1e-5)
    assert timeline.labels == LABELS.names
    assert (timeline.window, timeline.hop, timeline.duration) == (window, hop, recording.duration)
    assert engine.n_encoded == 1


def test_the_whole_recording_as_one_window_is_its_tags(tagger: Tagger) -> None:
    recording = levels(0.3, -0.1, 0.2, last=100)
    scores = {tag.label: tag.score for tag in tagger.tag(recording)}
    timeline = tagger.timeline(recording, window=99.0, hop=99.0)
    np.testing.assert_allclose(timeline.scores, [[scores[name] for name in timeline.labels]], rtol=1e-6)


def test_windows_are_classified_in_small_batches(engine: MeanEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    means = np.random.default_rng(2).uniform(-0.5, 0.5, 50).tolist()
    at_once = Tagger(engine).timeline(levels(*means), window=2.0, hop=0.4)
    assert engine.n_bags == [50]
    monkeypatch.setattr(tagger_module, "_VALUES_PER_CALL", 100)
    split = Tagger(engine).timeline(levels(*means), window=2.0, hop=0.4)
    np.testing.assert_allclose(split.scores, at_once.scores, rtol=1e-6)
    calls = list(zip(engine.n_bags, engine.n_given, strict=True))[1:]
    assert len(calls) > 5
    assert all(bags * given * 2 <= 100 for bags, given in calls)


def test_windows_of_the_same_segments_are_classified_once(engine: MeanEngine) -> None:
    timeline = Tagger(engine).timeline(levels(0.1, 0.2, 0.3), window=0.4, hop=0.01)
    assert len(timeline.onsets) == 101
    assert sum(engine.n_bags) < 7


def test_a_window_of_one_segment_is_never_empty() -> None:
    # the middles lie a rounding error further apart than the window is long, which begins right after the first
    middles = np.array([0.2, 0.600003])
    _, first, end = tagger_module._windows(middles, window=0.4, hop=0.200002)
    assert (end > first).all()


def test_window_and_hop_have_limits(tagger: Tagger) -> None:
    with pytest.raises(ConfigError, match=r"window: at least 0.4 s, the length of one segment .* not 0.3"):
        tagger.timeline(levels(0.0), window=0.3)
    for hop in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"hop: at least 0.001 s was expected"):
            tagger.timeline(levels(0.0), hop=hop)


# events


def timeline_of(scores: list[float], window: float, hop: float, duration: float) -> Timeline:
    column = np.array(scores, dtype=float)[:, None]
    onsets = np.arange(len(scores)) * hop
    return Timeline(onsets, np.concatenate([column, column / 2], axis=1), ("a", "b"), window, hop, duration)


def test_neighbouring_windows_are_one_event() -> None:
    timeline = timeline_of([0.1, 0.6, 0.9, 0.7, 0.2, 0.5], window=1.0, hop=1.0, duration=5.5)
    assert timeline.events(0.5) == [Event("a", 1.0, 4.0, 0.9), Event("a", 5.0, 5.5, 0.5)]
    assert timeline.events(0.95) == []
    assert timeline.events(0.35) == [Event("a", 1.0, 4.0, 0.9), Event("b", 2.0, 4.0, 0.45), Event("a", 5.0, 5.5, 0.5)]


def test_overlapping_windows_share_the_time_between_their_middles() -> None:
    # middles at 1, 1.5, 2, 2.5 and, of the windows cut at 3.5 s, 2.75, 3, 3.25
    timeline = timeline_of([0, 0.9, 0, 0.9, 0.9, 0, 0], window=2.0, hop=0.5, duration=3.5)
    assert [(e.onset, e.offset) for e in timeline.events()] == [(1.25, 1.75), (2.25, 2.875)]
    ends = timeline_of([0.9, 0, 0, 0, 0, 0, 0.9], window=2.0, hop=0.5, duration=3.5)
    assert [(e.onset, e.offset) for e in ends.events()] == [(0.0, 1.25), (3.125, 3.5)]


def test_events_never_cover_what_no_window_has_heard() -> None:
    timeline = timeline_of([0.9, 0, 0.9], window=1.0, hop=3.0, duration=20.0)
    assert [(e.onset, e.offset) for e in timeline.events()] == [(0.0, 1.0), (6.0, 7.0)]


def test_events_check_their_threshold() -> None:
    with pytest.raises(ConfigError, match="threshold: a score from 0 to 1"):
        timeline_of([1.0], 1.0, 1.0, 1.0).events(2.0)


# evidence, embedding


def test_evidence_is_what_the_logit_loses(engine: MeanEngine) -> None:
    means = [0.3, -0.2, 0.1]
    evidence = Tagger(engine).evidence(levels(*means, last=100), "/l")
    whole = 10 * np.mean(means)
    without = [10 * np.mean(means[:i] + means[i + 1 :]) for i in range(3)]
    assert evidence.label == "low"
    np.testing.assert_allclose(evidence.weights, [whole - w for w in without], rtol=1e-5)
    np.testing.assert_allclose(evidence.onsets, [0.0, 0.4, 0.8])
    np.testing.assert_allclose(evidence.offsets, [0.4, 0.8, 0.9])
    assert evidence.attention is not None
    assert evidence.attention.shape == (2, 3)
    assert evidence.score == pytest.approx(1 / (1 + np.exp(-whole)), rel=1e-5)
    assert engine.n_encoded == 1
    assert engine.n_bags == [1, 3]


def test_evidence_in_blocks_is_the_same(engine: MeanEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    means = np.random.default_rng(3).uniform(-0.5, 0.5, 11).tolist()
    whole = Tagger(engine).evidence(levels(*means), "low")
    monkeypatch.setattr(tagger_module, "_VALUES_PER_CALL", 4 * 11 * 2)
    blocks = Tagger(engine).evidence(levels(*means), "low")
    np.testing.assert_allclose(blocks.weights, whole.weights, rtol=1e-5)
    assert engine.n_bags == [1, 11, 1, 4, 4, 3]


def test_evidence_without_attention() -> None:
    assert Tagger(MeanEngine(attentive=False)).evidence(levels(0.1, 0.2), "low").attention is None


def test_evidence_refuses(tagger: Tagger, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'low'"):
        tagger.evidence(levels(0.1, 0.2), "lwo")
    with pytest.raises(AudioError, match=r"one segment of 0.4 s at a time, and 0.40 s are only one"):
        tagger.evidence(levels(0.1), "low")
    save_audio(tmp_path / "short.wav", levels(0.1))
    with pytest.raises(AudioError, match=r"short\.wav: evidence leaves out one segment"):
        tagger.evidence(tmp_path / "short.wav", "low")


def test_embedding_is_the_pooled_clip(tagger: Tagger) -> None:
    np.testing.assert_allclose(tagger.embed(levels(0.1, 0.3)), [0.2, 0.2], rtol=1e-6)


def test_what_a_tagger_tells_of_itself(tagger: Tagger) -> None:
    assert tagger.labels is LABELS
    assert (tagger.sample_rate, tagger.seconds_per_segment) == (RATE, 0.4)
    assert repr(tagger) == f"Tagger(MeanEngine: {len(LABELS)} labels, {RATE} Hz, 0.4 s a segment)"


# a real network


@pytest.fixture(scope="module")
def real() -> Tagger:
    import torch

    from earmark.frontend import FrontendConfig
    from earmark.network import Network, NetworkConfig, TorchEngine

    torch.manual_seed(0)
    return Tagger(TorchEngine(Network(NetworkConfig(FrontendConfig.at_16k(), width=4), LABELS)))


def noise(seconds: float) -> Audio:
    rng = np.random.default_rng(5)
    return Audio((rng.standard_normal(round(seconds * 16000)) / 10).astype(np.float32), 16000)


def test_a_network_tags_as_it_does_itself(real: Tagger) -> None:
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


@pytest.mark.parametrize("seconds", [1 / 16000, 0.01, 0.39])
def test_a_network_takes_the_shortest_recordings(real: Tagger, seconds: float) -> None:
    assert len(real.tag(noise(seconds))) == 3
    assert len(real.timeline(noise(seconds)).onsets) == 1


def test_the_module_does_without_pytorch() -> None:
    code = "import sys, earmark.tagger, earmark.hub; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
