"""Settings of the front end and mel bins, which need no PyTorch."""

import subprocess
import sys

import numpy as np
import pytest

from earmark.errors import ConfigError
from earmark.model.mel import FrontendConfig, mel_edges, mel_filters


def test_mel_bins_need_no_pytorch() -> None:
    code = "import sys, earmark.model.mel, earmark.plots.spectrogram; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_filter_has_unit_area() -> None:
    config = FrontendConfig(n_fft=8192)
    area = mel_filters(config).sum(axis=0) * config.sample_rate / config.n_fft
    np.testing.assert_allclose(area, 1, rtol=0.02)
    assert (np.diff(mel_edges(config)) > 0).all()


def test_bins_beyond_the_nyquist_frequency_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"f_max: .* sample rate of 16000 Hz, not bins"):
        FrontendConfig(sample_rate=16000)
