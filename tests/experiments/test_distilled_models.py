"""Students of a published network: the page and the false tags."""

from pathlib import Path

import numpy as np
import pytest
import torch

from earmark import hub
from earmark.audio.recording import Audio, save_audio
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from experiments.__main__ import main
from experiments.degraded import DEGRADATIONS
from experiments.distilled_models import false_tags, page
from experiments.free_audio import Recording


def test_false_tags_are_counted_on_test_recordings_of_speech_and_music(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LabelSet(("dog", "cat", "rain")))
    network.thresholds = (0.0, 0.0, 1.0)
    network.save(tmp_path / "model.safetensors")
    noise = (0.1 * np.random.default_rng(0).standard_normal(8000)).astype(np.float32)
    save_audio(tmp_path / "a.wav", Audio(noise, 16000))
    rows = [("speech", "test"), ("speech", "test"), ("speech", "train"), ("music", "valid"), ("other", "test")]
    recordings = [Recording(tmp_path / "a.wav", "s", "CC0", "x", "g", split, kind) for kind, split in rows]
    found = false_tags(hub.load(tmp_path / "model.safetensors"), recordings)
    assert found == {"speech": {"n": 2, "tags": 2.0}}


def test_the_page_shows_the_figures() -> None:
    row = {"n_clips": 397, "top1": 0.5, "mAP": 0.6}
    degraded = {name: {"n": 397, "top1": 0.4, "mAP": 0.5, "low": 0.4, "high": 0.6} for name in DEGRADATIONS}
    own = {"n_clips": 9, "mAP": 0.7, "n_labels": 3, "threshold": 0.5, "mean_absolute_difference": 0.01}
    own |= {"known": ["Dog"], "n_bytes": 2_100_000, "sources": ["berklee (CC BY 3.0)"]}
    own["kinds"] = {"music": {"n_labels": 2, "mAP": 0.25, "mean_absolute_difference": 0.02}}
    found = {"clips": row, "sparse5": {**row, "top1": None}, "dense5": row, "degraded": degraded, "n_parameters": 12}
    found["false_tags"] = {"music": {"n": 4, "tags": 0.25}}
    run = {"teacher": "mn04", "share": 0.1, "commit": "0123456789", "audioset": own, "esc50": found}
    text = page([{**run, "seed": 0}, {**run, "seed": 1}])
    assert "mAP 0.700 over the 3 labels" in text and "| 1 | sparse5 | 397 | - | 0.600 |" in text
    assert "1 labels reach 0.5" in text and "2.1 MB in 8 bits" in text and "| 0 | music | 2 | 0.250 | 0.0200 |" in text
    assert "music 0.25 (4 recordings)" in text and "| telephone | 397 | 0.400 | +0.000 |" in text


def test_a_missing_folder_is_wrong_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["distilled-models", str(tmp_path)]) == 2
    assert "BANK, AUDIO, TEACHER and WORK were expected" in capfd.readouterr().err
