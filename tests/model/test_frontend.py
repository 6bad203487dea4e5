import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.errors import ConfigError
from earmark.model.frontend import FLOOR_DB, FrontendConfig, LogMel, mel_edges, mel_filters

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "log_mel.json").read_text())
CONFIGS = {"32000": FrontendConfig(), "16000": FrontendConfig.at_16k()}


def golden_signal(sample_rate: int) -> np.ndarray:
    """The signal of golden/make_log_mel.py."""
    time = np.arange(sample_rate // 2) / sample_rate
    sweep = 0.5 * np.sin(2 * np.pi * (200 * time + 6000 * time**2)) * (time < 0.3)
    click = (np.arange(len(time)) == sample_rate // 5).astype(float)
    tone = 0.001 * np.sin(2 * np.pi * 997 * time) * (time > 0.25) * (time < 0.4)
    return (sweep + 0.8 * click + tone).astype(np.float32)


@pytest.mark.parametrize("rate", CONFIGS)
def test_equals_librosa(rate):
    log_mel = LogMel(CONFIGS[rate])(torch.from_numpy(golden_signal(int(rate)))[None])[0].numpy()
    expected = np.array(GOLDEN[rate])
    assert log_mel.shape == expected.shape == (20, 64)
    # where the exact value lies near the floor, single precision of two Fourier transforms is all that is compared
    audible = expected > -80
    assert audible.mean() > 0.4 and (log_mel[expected < -99.9] < -95).all()
    assert np.abs(log_mel - expected)[audible].max() < 0.03
    assert np.abs(log_mel - expected)[expected > -20].max() < 5e-5


def slow_log_mel(waveform: np.ndarray, config: FrontendConfig) -> np.ndarray:
    """Frame by frame in float64, from the definition."""
    margin = config.n_fft // 2
    padded = np.pad(waveform.astype(float), margin, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(config.n_fft) / config.n_fft)
    frames = []
    for start in range(0, len(waveform), config.hop_length):
        power = np.abs(np.fft.rfft(padded[start : start + config.n_fft] * window)) ** 2
        frames.append(10 * np.log10(np.maximum(power @ mel_filters(config), 1e-10)))
    return np.array(frames)


@pytest.mark.parametrize("n_samples", [320000, 31999, 32001, 801, 800, 700, 513])
def test_equals_the_definition(n_samples):
    waveform = np.random.default_rng(n_samples).normal(0, 0.1, n_samples).astype(np.float32)
    log_mel = LogMel(FrontendConfig())(torch.from_numpy(waveform)[None])[0].numpy()
    expected = slow_log_mel(waveform, FrontendConfig())
    assert log_mel.shape == expected.shape
    assert np.abs(log_mel - expected).max() < 1e-3


@pytest.mark.parametrize("n_samples", [64000, 63999, 64001, 320, 640, 513])
def test_the_last_frame_is_the_one_around_the_end(n_samples):
    config = FrontendConfig(hop_length=320, last_frame=True)
    waveform = np.random.default_rng(n_samples).normal(0, 0.1, n_samples).astype(np.float32)
    log_mel = LogMel(config)(torch.from_numpy(waveform)[None])[0]
    assert len(log_mel) == n_samples // 320 + 1 == config.n_frames(n_samples)
    without = LogMel(FrontendConfig(hop_length=320))(torch.from_numpy(waveform)[None])[0]
    torch.testing.assert_close(log_mel[: len(without)], without, rtol=0, atol=1e-4)
    if n_samples == 640:  # its window reaches into 512 samples mirrored at the end
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
        piece = np.concatenate([waveform[128:], waveform[127:639][::-1]])
        mel = np.abs(np.fft.rfft(piece * window)) ** 2 @ mel_filters(config)
        np.testing.assert_allclose(log_mel[2], 10 * np.log10(mel), atol=1e-3)


def test_the_last_frame_needs_an_even_window():
    with pytest.raises(ConfigError, match="n_fft: an even number was expected where last_frame is set, not 1023"):
        FrontendConfig(n_fft=1023, last_frame=True)


def test_ten_seconds_are_400_frames():
    assert LogMel(FrontendConfig())(torch.zeros(1, 320000)).shape == (1, 400, 64)
    assert LogMel(FrontendConfig.at_16k())(torch.zeros(1, 160000)).shape == (1, 400, 64)


def test_silence_is_the_floor():
    assert (LogMel(FrontendConfig())(torch.zeros(2, 5000)) == FLOOR_DB).all()


@settings(max_examples=40)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=5), st.integers(0, 2**31), st.booleans())
def test_a_padded_clip_gives_the_frames_that_it_gives_alone(lengths, seed, last_frame):
    frontend = LogMel(replace(FrontendConfig.at_16k(), hop_length=100, last_frame=last_frame))
    generator = torch.Generator().manual_seed(seed)
    clips = [torch.randn(n, generator=generator) for n in lengths]
    batch = torch.full((len(clips), max(lengths)), 7.0)  # what pads must not matter
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = clip
    together = frontend(batch, torch.tensor(lengths))
    for row, clip in zip(together, clips, strict=True):
        alone = frontend(clip[None])[0]
        torch.testing.assert_close(row[: len(alone)], alone, rtol=0, atol=1e-4)
        assert (row[len(alone) :] == FLOOR_DB).all()


def test_half_precision_never_reaches_the_spectrum():
    waveform = torch.randn(1, 16000) * 1e-3
    frontend = LogMel(FrontendConfig.at_16k())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = frontend(waveform)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, frontend(waveform), rtol=0, atol=0)


def test_filters_have_unit_area():
    config = FrontendConfig(n_fft=65536)
    area = mel_filters(config).sum(0) * config.sample_rate / config.n_fft
    assert np.abs(area - 1).max() < 0.03
    edges = mel_edges(config)
    assert edges[0] == pytest.approx(50) and edges[-1] == pytest.approx(14000) and (np.diff(edges) > 0).all()


@pytest.mark.parametrize(
    "values, text",
    [
        ({"f_max": 20000.0}, "f_max: .* sample rate of 32000 Hz, not bins"),
        ({"n_mels": 60}, "a multiple of 16 was expected"),
        ({"hop_length": 0}, "hop_length: at least 1 was expected, not 0"),
    ],
)
def test_invalid_settings_are_refused(values, text):
    with pytest.raises(ConfigError, match=text):
        FrontendConfig(**values)


def test_an_empty_clip_is_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        LogMel(FrontendConfig())(torch.zeros(1, 0))
    with pytest.raises(ValueError, match="at least one sample"):
        LogMel(FrontendConfig())(torch.zeros(2, 100), torch.tensor([100, 0]))
