"""Log-mels in memory."""

import torch

from earmark.data.clips import Clip
from earmark.model.frontend import FrontendConfig, LogMel
from earmark.training.cache import log_mels
from tests.training.tones import Broken, Tone


def test_cached_log_mels_are_those_of_each_clip_alone():
    frontend = LogMel(FrontendConfig.at_16k())
    clips = [Clip(str(i), (), Tone(("low",), i, 0.5 + 0.25 * (i // 11))) for i in range(30)]
    clips.insert(5, Clip("broken", (), Broken()))
    ticks = []
    mels, failed = log_mels(clips, frontend, 3, ticks.append)
    assert failed == [("broken", "broken.wav: damaged")] and mels[5] is None and sum(ticks) == 31
    for clip, mel in zip(clips, mels, strict=True):
        if mel is not None:
            alone = frontend(torch.from_numpy(clip.load(16000).waveform)[None])[0]
            torch.testing.assert_close(torch.from_numpy(mel), alone, rtol=0, atol=1e-4)
