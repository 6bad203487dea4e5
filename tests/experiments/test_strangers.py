"""First tags on recordings of other projects."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.labels import LabelSet
from experiments.__main__ import main
from experiments.free_audio import Recording
from experiments.strangers import NAMES, first_tags, page

ESC50, AUDIOSET = LabelSet.esc50(), LabelSet.audioset()


def tagger_of(label: str, labels: LabelSet) -> SimpleNamespace:
    """A tagger whose first tag is always this label."""
    scores = np.zeros(len(labels), np.float32)
    scores[labels.index(label)] = 1.0
    return SimpleNamespace(labels=labels, sample_rate=16000, score=lambda _: SimpleNamespace(scores=scores))


@pytest.fixture
def recordings(tmp_path: Path) -> list[tuple[Recording, str]]:
    save_audio(tmp_path / "a.wav", Audio(np.zeros(1600, np.float32), 16000))
    rows = [("dog", "train"), ("dog", "test"), ("dog", "valid"), ("rain", "test")]
    return [(Recording(tmp_path / "a.wav", "s", "CC0", "x", "g", split, "other"), label) for label, split in rows]


@pytest.mark.parametrize(("label", "labels"), [("dog", ESC50), ("Bark", AUDIOSET)])
def test_first_tags_are_counted_by_label_and_group(
    label: str, labels: LabelSet, recordings: list[tuple[Recording, str]]
) -> None:
    found = first_tags(tagger_of(label, labels), recordings)
    assert found["all"] == {"dog": {"n": 3, "right": 1.0}, "rain": {"n": 1, "right": 0.0}}
    assert found["held out"] == {"dog": {"n": 2, "right": 1.0}, "rain": {"n": 1, "right": 0.0}}
    text = page({"commit": "0123456789", "models": {"earmark-esc50": found}})
    assert "False tags" not in text
    kinds = {"speech": {"n": 149, "tags": 0.034}, "music": {"n": 40, "tags": 0.15}}
    more = page({"commit": "0", "models": {"earmark-esc50": found}, "false_tags": {"earmark-esc50": kinds}})
    assert (
        "of earmark-esc50, at its own thresholds, on held-out recordings: 0.03 on 149 of speech and 0.15 on 40 of music"
        in more
    )
    # rain has too few recordings for the mean over labels
    assert "| earmark-esc50 | 4 | 1.000 | 0.750 | 3 | nan | 0.667 |" in text and "| rain | 1 | 0.00 |" in text


def test_every_name_is_of_one_sound_of_esc50() -> None:
    assert set(NAMES) <= set(ESC50.names)
    names = [name for names in NAMES.values() for name in names.split("; ")]
    assert len(names) == len(set(names))


def test_a_folder_alone_is_wrong_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["strangers", str(tmp_path)]) == 2
    assert "AUDIO and MODELS were expected" in capfd.readouterr().err
