"""A stream has the events of the timeline of the whole recording."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from earmark.audio.recording import Audio
from earmark.audio.resampling import StreamResampler
from earmark.errors import AudioError, ConfigError
from earmark.inference.events import Event, EventSettings
from earmark.inference.stream import Stream
from earmark.inference.tagger import Tagger
from earmark.inference.torch_engine import TorchEngine
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig


def pushed(stream: Stream, waveform: np.ndarray, n_block: int) -> list[Event]:
    """All events of a stream, by their onsets."""
    n_samples = waveform.shape[-1]
    events = [event for at in range(0, n_samples, n_block) for event in stream.push(waveform[..., at : at + n_block])]
    return sorted([*events, *stream.finish()], key=lambda e: (e.onset, stream._engine.labels.index(e.label)))


@pytest.mark.parametrize("last", [1, 210, 400])
@pytest.mark.parametrize(("window", "hop"), [(0.4, 0.4), (2.0, 0.4), (1.1, 0.3), (0.5, 0.7)])
@pytest.mark.parametrize("n_block", [150, 1000, 99999])
@pytest.mark.parametrize("halo", [2, None])
def test_a_stream_has_the_events_of_the_timeline(
    mean_engine: Any, levels: Callable[..., Audio], window: float, hop: float, last: int, n_block: int, halo: int | None
) -> None:
    values = np.repeat(np.random.default_rng(4).uniform(-0.4, 0.4, 20), 3).tolist()
    recording = levels(*values, last=last)
    tagger = Tagger(mean_engine(clip_duration=5.0, thresholds=(0.7, 0.8, 0.5)))
    tagger.engine.halo = halo
    timeline = tagger.timeline(recording, window=window, hop=hop)
    settings = EventSettings() if last == 1 else EventSettings(max_gap=hop, min_duration=0.3, pad=0.2)
    expected = timeline.events(settings=settings)
    stream = tagger.stream(1000, window=window, hop=hop, settings=settings)
    found = pushed(stream, recording.waveform, n_block)
    assert len(expected) >= 3
    assert [event.label for event in found] == [event.label for event in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.onset, ours.offset, ours.score) == pytest.approx(
            (theirs.onset, theirs.offset, theirs.score), abs=1e-6
        )
    assert stream.scores is not None
    np.testing.assert_allclose(stream.scores, timeline.scores[-1], atol=1e-6)
    assert stream.duration == recording.duration


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(FrontendConfig.at_16k(), width=4),
        NetworkConfig(FrontendConfig.at_16k(), "light", width=4),
        NetworkConfig(replace(FrontendConfig.at_16k(), n_mels=128, hop_length=160), width=4),
        NetworkConfig(replace(FrontendConfig.at_16k(), hop_length=160, preemphasis=0.97), "mn", width=4),
    ],
    ids=["paper", "light", "fine", "mn"],
)
def test_streamed_scores_of_a_network_equal_its_timeline(config: NetworkConfig) -> None:
    torch.manual_seed(0)
    network = Network(config, LabelSet(("a", "b", "c")))
    network.extra = {"clip_duration": 4.0}
    for parameter in network.classifier[-1].parameters():
        parameter.data.mul_(8)  # scores that differ over time
    tagger = Tagger(TorchEngine(network))
    rng = np.random.default_rng(7)
    loudness = np.repeat(10 ** rng.uniform(-4, -0.5, 24), 22050).astype(np.float32)
    stereo = Audio(rng.standard_normal((2, len(loudness))).astype(np.float32) * loudness / 4, 44100)
    timeline = tagger.timeline(stereo, window=1.2, hop=0.4)
    thresholds = np.median(timeline.scores, axis=0).tolist()
    for step in (None, 3.0) if network.halo is not None else (None,):
        stream = tagger.stream(44100, n_channels=2, window=1.2, hop=0.4, threshold=thresholds, release=0.9, step=step)
        found = pushed(stream, stereo.waveform, 4410)
        expected = timeline.events(thresholds, release=0.9)
        assert [event.label for event in found] == [event.label for event in expected]
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours.onset, ours.offset, ours.score) == pytest.approx(
                (theirs.onset, theirs.offset, theirs.score), abs=1e-4
            )


@pytest.mark.parametrize(("hop", "context"), [(0.4, 0.0), (1.0, 0.0), (4.0, 0.0), (0.4, 1.6), (1.0, 1.6)])
def test_each_event_comes_once_and_in_time(
    mean_engine: Any, levels: Callable[..., Audio], hop: float, context: float
) -> None:
    recording = levels(*[-0.5] * 10, *[0.5] * 12, *[-0.5] * 40)
    stream = Tagger(mean_engine()).stream(
        1000, window=0.8, hop=hop, context=context, threshold=(0.9, 1.0, 1.0), release=1.0
    )
    beyond = max(context - 0.8, 0.0) / 2  # of a window, on either side
    assert stream.latency == pytest.approx(1.6 + beyond)
    received: list[tuple[float, Event]] = []
    begun: list[float] = []
    for at in range(0, recording.waveform.size, 100):
        ended = stream.push(recording.waveform[at : at + 100])
        received += [(stream.duration, event) for event in ended]
        begun += [stream.duration] if stream.sounding else []
    assert stream.finish() == []
    ((when, event),) = received
    assert event.label == "low"
    onsets = np.arange(0, recording.duration - 0.8, hop)
    # all of the window, and of its context, is loud
    holding = [onset for onset in onsets if 3.9 + beyond <= onset <= 8.1 - beyond]
    assert event.onset <= holding[0] + 0.4 + 1e-6 and event.offset >= holding[-1] + 0.4 - 1e-6
    # known with the first window that does not hold it any more
    assert event.offset < when <= holding[-1] + hop + 0.8 + stream.latency
    assert begun and begun[0] <= holding[0] + hop + 0.8 + stream.latency


def test_a_stream_without_sound_has_no_events(mean_engine: Any) -> None:
    stream = Tagger(mean_engine()).stream(44100)
    assert stream.push(np.zeros(0, np.float32)) == [] and stream.scores is None and stream.sounding == []
    assert stream.finish() == []
    for call in (lambda: stream.push(np.zeros(3, np.float32)), stream.finish):
        with pytest.raises(ConfigError, match="this stream is finished"):
            call()


@pytest.mark.parametrize(
    ("n_channels", "shape"), [(1, (512, 2)), (1, (2, 512)), (2, (512, 2)), (2, (512,)), (1, (1, 1, 9))]
)
def test_wrong_channels_are_refused(mean_engine: Any, n_channels: int, shape: tuple[int, ...]) -> None:
    stream = Tagger(mean_engine()).stream(1000, n_channels=n_channels)
    with pytest.raises(AudioError, match=r"this stream takes .*transpose \(sample, channel\) arrays|a waveform is"):
        stream.push(np.zeros(shape, np.float32))
    assert stream.duration == 0


def test_a_stream_of_one_channel_takes_it_with_and_without_its_axis(mean_engine: Any) -> None:
    stream = Tagger(mean_engine()).stream(1000)
    stream.push(np.zeros(100, np.float32))
    stream.push(np.zeros((1, 100), np.int16))
    assert stream.duration == 0.2
    with pytest.raises(ConfigError, match="n_channels: a positive whole number"):
        Tagger(mean_engine()).stream(1000, n_channels=0)


def test_memory_does_not_grow(mean_engine: Any) -> None:
    stream = Tagger(mean_engine()).stream(1000)
    for _ in range(200):
        stream.push(np.zeros(4321, np.float32))
    assert sum(map(len, stream._windows._segments)) < 20
    assert stream._encoder._n_waiting < 10 * 400


def test_a_longer_step_runs_the_network_less_often(mean_engine: Any) -> None:
    counts = []
    for step in (None, 4.0):
        tagger = Tagger(mean_engine())
        stream = tagger.stream(1000, context=0.0, step=step)
        for _ in range(100):
            stream.push(np.zeros(400, np.float32))
        counts.append((tagger.engine.n_encoded, stream.latency))  # type: ignore[attr-defined]
    assert counts[0][0] > 5 * counts[1][0] and counts[0][1] == pytest.approx(1.6) and counts[1][1] == pytest.approx(5.2)


def test_the_windows_of_a_network_of_unbounded_context_set_the_step(mean_engine: Any) -> None:
    tagger = Tagger(mean_engine(clip_duration=4.0))
    tagger.engine.halo = None
    assert tagger.stream(1000, context=0.0).latency == pytest.approx((10 + 1) * 0.4)
    with pytest.raises(ConfigError, match=r"step: none was expected: .* whose overlap sets the step"):
        tagger.stream(1000, step=0.8)


def test_invalid_settings_are_refused(mean_engine: Any) -> None:
    tagger = Tagger(mean_engine())
    with pytest.raises(ConfigError, match=r"step: 0\.4 s, the length of one segment, or more was expected, not 0.1"):
        tagger.stream(1000, step=0.1)
    with pytest.raises(AudioError, match="a sample rate is a positive whole number"):
        tagger.stream(0)
    with pytest.raises(ConfigError, match="release"):
        tagger.stream(1000, release=2.0)
    with pytest.raises(AudioError, match="a waveform is finite"):
        tagger.stream(1000).push(np.array([0.0, np.nan], np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_the_caller_may_use_its_buffer_again(
    mean_engine: Any, levels: Callable[..., Audio], dtype: type[np.generic]
) -> None:
    waveform = levels(*np.random.default_rng(1).uniform(-0.4, 0.4, 30).tolist()).waveform
    samples = waveform if dtype is np.float32 else (waveform * 32767).astype(dtype)
    buffer, streams = np.zeros(150, dtype), [Tagger(mean_engine()).stream(1000) for _ in range(2)]
    events: list[list[Event]] = [[], []]
    for at in range(0, len(samples), 150):
        buffer[:] = samples[at : at + 150]
        events[0] += streams[0].push(buffer)
        events[1] += streams[1].push(buffer.copy())
    assert events[0] + streams[0].finish() == events[1] + streams[1].finish() != []


@pytest.mark.parametrize("n_channels", [1, 2])
def test_pushes_of_one_sample_are_resampled_together_and_give_the_same_events(
    mean_engine: Any, levels: Callable[..., Audio], n_channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.repeat(np.random.default_rng(4).uniform(-0.4, 0.4, 6), 3).tolist()
    waveform = levels(*values).waveform if n_channels == 1 else np.tile(levels(*values).waveform, (n_channels, 1))
    tagger = Tagger(mean_engine(thresholds=(0.7, 0.8, 0.5)))
    once, single = (tagger.stream(1000, n_channels=n_channels) for _ in range(2))
    n_parts = 0
    push = StreamResampler.push

    def counted(resampler: StreamResampler, part: np.ndarray) -> np.ndarray:
        nonlocal n_parts
        n_parts += 1
        return push(resampler, part)

    expected = pushed(once, waveform, 99999)
    monkeypatch.setattr(StreamResampler, "push", counted)
    assert pushed(single, waveform, 1) == expected
    assert n_parts <= len(values) + 1, "one part for each segment"
    assert single.duration == once.duration


def test_an_event_ends_with_the_same_sample_in_parts_of_any_size(
    mean_engine: Any, levels: Callable[..., Audio]
) -> None:
    waveform = levels(0.4, 0.4, -0.4, -0.4, -0.4, -0.4, -0.4).waveform
    single, parts = (Tagger(mean_engine()).stream(1000, window=0.4, context=0.0) for _ in range(2))
    ends = [at for at in range(len(waveform)) if single.push(waveform[at : at + 1])]
    assert ends
    assert not parts.push(waveform[: ends[0]])
    assert parts.push(waveform[ends[0] : ends[0] + 1])


def test_samples_of_several_types_may_be_pushed_one_by_one(mean_engine: Any) -> None:
    stream, whole = (Tagger(mean_engine()).stream(1000) for _ in range(2))
    for at in range(900):
        stream.push(np.array([0.25], np.float32) if at % 2 else np.array([8192], np.int16))
    whole.push(np.full(900, 0.25, np.float32))
    events = stream.finish()
    assert events == whole.finish()
    np.testing.assert_array_equal(stream.scores, whole.scores)


@pytest.mark.parametrize("sample", [np.nan, np.inf])
def test_an_invalid_sample_is_refused_by_its_own_push(mean_engine: Any, sample: float) -> None:
    stream = Tagger(mean_engine()).stream(1000, n_channels=2)
    stream.push(np.zeros((2, 1)))
    with pytest.raises(AudioError, match="finite"):
        stream.push(np.array([[0.0], [sample]]))
    with pytest.raises(AudioError, match="got bool"):
        stream.push(np.zeros((2, 1), bool))
    stream.push(np.zeros((2, 1)))
    assert stream.duration == 0.002
