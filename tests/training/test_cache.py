"""Log-mels in memory and in files."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from earmark.data.clips import Clip, Dataset
from earmark.errors import DataError
from earmark.model.frontend import FrontendConfig, LogMel
from earmark.training.cache import log_mels
from tests.training.tones import LABELS, Broken, Tone, assert_same_state, in_files, run, state_of, tones


def test_cached_log_mels_are_those_of_each_clip_alone():
    frontend = LogMel(FrontendConfig.at_16k())
    clips = [Clip(str(i), (), Tone(("low",), i, 0.5 + 0.25 * (i // 11))) for i in range(30)]
    clips.insert(5, Clip("broken", (), Broken()))
    ticks = []
    mels, failed = log_mels(Dataset("tones", LABELS, tuple(clips)), frontend, 3, ticks.append)
    assert failed == [("broken", "broken.wav: damaged")] and mels[5] is None and sum(ticks) == 31
    for clip, mel in zip(clips, mels, strict=True):
        if mel is not None:
            alone = frontend(torch.from_numpy(clip.load(16000).waveform)[None])[0]
            torch.testing.assert_close(torch.from_numpy(mel), alone, rtol=0, atol=1e-4)


def _forbidden(*_):
    raise RuntimeError("log-mels were computed although they are kept")


def test_kept_log_mels_are_not_computed_again_and_change_nothing(tmp_path, monkeypatch):
    kept, data = tmp_path / "features", in_files(tones(), tmp_path / "audio")
    run(tmp_path / "without", data=data)
    run(tmp_path / "first", data=data, features=kept)
    monkeypatch.setattr(LogMel, "forward", _forbidden)
    run(tmp_path / "second", data=data, features=kept)
    for name in ("first", "second"):
        assert_same_state(state_of(tmp_path / name), state_of(tmp_path / "without"))
    os.utime(tmp_path / "audio" / "tones-3.flac", (1, 1))
    with pytest.raises(RuntimeError, match="computed"):
        run(tmp_path / "changed", data=data, features=kept)


@pytest.fixture
def kept(tmp_path):
    """Calls `log_mels` with a folder."""

    def compute(data, config=None):
        return log_mels(data, LogMel(config or FrontendConfig.at_16k()), 0, lambda n: None, tmp_path / "features")[0]

    return compute


def test_kept_log_mels_have_each_clips_own_length(tmp_path, kept, monkeypatch):
    data = replace(tones(), clips=(*tones("long", 2, 1.1).clips, *tones(n_clips=2).clips))
    data = in_files(data, tmp_path / "audio")
    mels = log_mels(data, LogMel(FrontendConfig.at_16k()), 0, lambda n: None)[0]
    assert [len(one) for one in mels] == [44, 44, 32, 32]
    first = kept(data)
    monkeypatch.setattr(LogMel, "forward", _forbidden)
    for found in (first, kept(data)):
        assert all(np.array_equal(a, b) for a, b in zip(found, mels, strict=True))
        assert all(isinstance(one, np.memmap) for one in found), "processes share the memory"
    with pytest.raises(RuntimeError, match="computed"):
        kept(data, FrontendConfig())
    (values,) = (tmp_path / "features").iterdir()
    whole = values.read_bytes()
    for spoilt in (whole[:-4], whole[:1000], b"", whole[128:]):
        values.write_bytes(spoilt)
        with pytest.raises(DataError, match="damaged; delete it and run again"):
            kept(data)


def test_unreadable_clips_and_sounds_that_are_no_files_are_not_kept(tmp_path, kept):
    # nothing distinguishes two sounds that are no files
    kept(tones())
    data = in_files(tones(n_clips=2), tmp_path / "audio")
    (tmp_path / "audio" / "tones-1.flac").write_bytes(b"damaged")
    assert kept(data)[1] is None
    assert not (tmp_path / "features").exists()
