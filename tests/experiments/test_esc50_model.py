"""The page and the changed recordings of esc50-model."""

import json
from pathlib import Path

import numpy as np
import pytest

from earmark.audio.recording import Audio
from experiments.__main__ import main
from experiments.esc50_model import CHANGES, KEPT, Changed, page


class Noise:
    """A second of noise at any rate."""

    def load(self, sample_rate: int) -> Audio:
        noise = np.random.default_rng(0).standard_normal(sample_rate)
        return Audio((0.1 * noise).astype(np.float32), sample_rate)


def test_the_page_follows_from_the_kept_figures() -> None:
    assert page(json.loads(KEPT.read_text())) == KEPT.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_recording_has_its_length_and_level(change: str) -> None:
    audio = Changed(Noise(), change).load(16000)
    seconds = {"somewhere in 15 s of faint noise": 15, "somewhere in 60 s of faint noise": 60}.get(change, 1)
    level = {"20 dB quieter": 0.01, "40 dB quieter": 0.001}.get(change, 0.1)
    assert (len(audio.waveform), audio.sample_rate) == (16000 * seconds, 16000)
    assert np.sqrt((audio.waveform**2).sum() / 16000) == pytest.approx(level, rel=0.05)


def test_a_bank_without_a_work_folder_is_wrong_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["esc50-model", str(tmp_path)]) == 2
    assert "both BANK and WORK were expected" in capfd.readouterr().err
