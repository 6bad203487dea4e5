"""Scores of clips longer than the training clips."""

from dataclasses import dataclass

import numpy as np
import torch

from earmark.audio.recording import Audio
from earmark.data.clips import Clip, Dataset
from earmark.evaluation.report import evaluate
from earmark.inference.tagger import Tagger
from earmark.inference.torch_engine import TorchEngine
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig

LABELS = LabelSet(("bell", "dog"))


@dataclass(frozen=True)
class Noise:
    """Noise with a louder second half."""

    seed: int
    duration: float

    def load(self, sample_rate: int) -> Audio:
        noise = np.random.default_rng(self.seed).standard_normal(round(self.duration * sample_rate)) / 100
        noise[len(noise) // 2 :] *= 10
        return Audio(noise.astype(np.float32), sample_rate)


def test_long_clips_are_pooled_whole_or_scored_by_their_best_windows() -> None:
    torch.manual_seed(0)
    network = Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LABELS).eval()
    network.extra["clip_duration"] = 0.8
    clips = (Clip(f"{i}", (LABELS.names[i % 2],), Noise(i, seconds)) for i, seconds in enumerate((0.5, 2.0, 0.7, 3.0)))
    dataset = Dataset("noises", LABELS, tuple(clips))
    whole, windows = (evaluate(network, dataset, batch_size=4, long_clips=rule) for rule in ("whole", "windows"))
    tagger = Tagger(TorchEngine(network))
    for clip, pooled, by_windows in zip(dataset, whole.scores, windows.scores, strict=True):
        np.testing.assert_allclose(by_windows, tagger.score(clip.load(16000)).scores, atol=1e-6)
        assert (np.abs(by_windows - pooled).max() > 1e-6) == (clip.id in ("1", "3"))
    assert [report.to_json()["long_clips"] for report in (whole, windows)] == ["whole", "windows"]
    assert whole.n_long_clips == windows.n_long_clips == 2
    assert "\nLonger than the training clips: 2 clips, pooled whole.\n" in whole.markdown()
    assert "scored by their best windows, as `earmark tag` does.\n" in windows.markdown()
