"""The front end of an exported network."""

from dataclasses import replace

import pytest
import torch

from earmark.export.spectrum import Spectrum
from earmark.hub.efficientat import FRONTEND as MN
from earmark.model.frontend import FrontendConfig, LogMel


@pytest.mark.parametrize(
    "config",
    [
        FrontendConfig(),
        FrontendConfig.at_16k(),
        FrontendConfig(sample_rate=8000, n_fft=256, hop_length=80, n_mels=16, f_min=0.0, f_max=4000.0),
        FrontendConfig(sample_rate=8000, n_fft=255, hop_length=100, n_mels=16, f_min=20.0, f_max=3900.0),
        FrontendConfig(sample_rate=8000, n_fft=200, hop_length=333, n_mels=16, f_min=20.0, f_max=3900.0),
        FrontendConfig(sample_rate=8000, n_fft=512, hop_length=512, n_mels=16, f_min=20.0, f_max=3900.0),
        MN,
        replace(MN, symmetric_window=False, window_length=801, mel_scale="slaney"),
    ],
    ids=lambda config: f"{config.n_fft}/{config.hop_length}",
)
def test_the_exported_front_end_equals_log_mel(config: FrontendConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    # PyTorch does not compute symbolic operators of ONNX
    monkeypatch.setattr("earmark.export.spectrum.operator", lambda name, x, size, shape: x.reshape(shape))
    frontend = LogMel(config)
    spectrum = Spectrum(frontend, torch.ones(1), torch.zeros(1))
    for n_samples in (1, 2, 3, 100, 127, 128, 333, 666, 800, 5000):
        waveform = 0.1 * torch.randn(2, n_samples, generator=torch.Generator().manual_seed(n_samples))
        torch.testing.assert_close(spectrum(waveform), frontend(waveform), rtol=0, atol=2e-3)
