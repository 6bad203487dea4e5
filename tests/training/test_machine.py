"""Device, memory and pace."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from earmark.errors import ConfigError
from earmark.training.machine import chosen_device, keep_big_buffers, long_run
from tests.training.tones import SMALL


def test_a_long_run_is_noted_on_the_cpu_alone():
    assert long_run(torch.device("cuda"), 1e6, SMALL) is None
    assert long_run(torch.device("cpu"), 1799.0, SMALL) is None
    text = "about 31 min left on the CPU; a GPU or a smaller budget is faster"
    assert str(long_run(torch.device("cpu"), 31 * 60.0, SMALL)) == text


def test_a_missing_device_is_refused():
    with pytest.raises(ConfigError, match="device: cuda:99 was requested, but PyTorch finds"):
        chosen_device(replace(SMALL, device="cuda:99"))


@pytest.mark.parametrize(
    ("platform", "libc", "n_calls"),
    [("linux", "glibc", 2), ("linux", "", 0), ("darwin", "", 0), ("win32", "", 0)],
)
def test_big_buffers_are_kept_where_there_is_glibc(monkeypatch, platform, libc, n_calls):
    calls = []
    library = SimpleNamespace(mallopt=lambda option, value: calls.append((option, value)))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("platform.libc_ver", lambda: (libc, ""))
    monkeypatch.setattr("ctypes.CDLL", lambda *_: library)
    keep_big_buffers()
    assert len(calls) == n_calls
