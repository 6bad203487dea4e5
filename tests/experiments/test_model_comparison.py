"""Comparison of models with different labels: figures of a tagger, its false tags, and the page."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data import open_data
from earmark.errors import ConfigError
from earmark.evaluation.localisation import TrueEvent
from earmark.labels import LabelSet
from experiments.__main__ import main
from experiments.degraded import DEGRADATIONS
from experiments.free_audio import Recording, false_tags, write_clips
from experiments.model_comparison import best_threshold, on_clips, page

ESC50, AUDIOSET = LabelSet.esc50(), LabelSet.audioset()


TAGS_OF = {"Bark": ["Dog", "Bark", "Speech"]}
"""Tags that the fake tagger returns, where they are more than its label."""


def tagger_of(label: str, labels: LabelSet) -> SimpleNamespace:
    """A tagger whose only tag is always this label."""
    scores = np.zeros(len(labels), np.float32)
    scores[labels.index(label)] = 1.0
    return SimpleNamespace(
        labels=labels,
        sample_rate=16000,
        thresholds=(0.5,) * len(labels),
        score=lambda _: SimpleNamespace(scores=scores),
        tag=lambda *_, **__: [SimpleNamespace(label=name) for name in TAGS_OF.get(label, [label])],
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    save_audio(tmp_path / "a.wav", Audio(np.zeros(1600, np.float32), 16000))
    return tmp_path / "a.wav"


@pytest.mark.parametrize(("label", "labels"), [("dog", ESC50), ("Bark", AUDIOSET)])
def test_scores_are_those_of_esc50s_classes(label: str, labels: LabelSet, tmp_path: Path) -> None:
    rows = []
    for place, name in enumerate(("dog", "dog", "rain", *ESC50.names)):
        rows.append((tmp_path / f"{place}.wav", name, "5", name))
        save_audio(rows[-1][0], Audio(np.zeros(1600, np.float32), 16000))
    write_clips(rows, tmp_path / "clips.csv")
    found = on_clips(tagger_of(label, labels), open_data(f"csv:{tmp_path / 'clips.csv'}"))
    assert found["top1"] == pytest.approx(3 / 53)
    rows[0] = (rows[0][0], "dog;rain", "5", "x")
    write_clips(rows, tmp_path / "clips.csv")
    assert on_clips(tagger_of(label, labels), open_data(f"csv:{tmp_path / 'clips.csv'}"))["top1"] is None


@pytest.mark.parametrize(
    ("label", "labels", "wanted"),
    [
        ("dog", ESC50, 1.0),
        ("dog", LabelSet(("dog", "rain")), 1.0),
        ("Bark", AUDIOSET, 1.0),
        ("Speech", AUDIOSET, 0.0),
    ],
)
def test_false_tags_count_each_class_once_and_no_other_label(
    label: str, labels: LabelSet, wanted: float, recording: Path
) -> None:
    rows = [
        Recording(recording, "s", "CC0", "x", "g", split, kind)
        for split in ("train", "test")
        for kind in ("speech", "other")
    ]
    assert false_tags(tagger_of(label, labels), rows) == {"speech": {"n": 1, "tags": wanted}}
    with pytest.raises(ConfigError, match="labels of ESC-50 or AudioSet"):
        false_tags(tagger_of("bell", LabelSet(("bell",))), rows)


def test_the_threshold_separates_the_true_labels() -> None:
    logits = np.full((1, len(ESC50)), -4.0)
    logits[0, [0, 1]] = -1.0
    scenes = [SimpleNamespace(segments=np.zeros(3), events=(TrueEvent(place, 0.0, 1.0),)) for place in (0, 1)]
    rows = [np.where(np.arange(len(ESC50)) == place, logits, -4.0) for place in (0, 1)]
    pools = iter(rows)
    found = best_threshold(SimpleNamespace(scenes=scenes, pool=lambda *_: next(pools)))  # type: ignore[arg-type]
    assert 1 / (1 + np.exp(4.0)) < found <= 1 / (1 + np.exp(1.0))


def figures(top1: float, false_tags: dict[str, float] | None) -> dict[str, object]:
    degraded = {name: {"top1": top1, "mAP": 0.6} for name in DEGRADATIONS}
    events = {"F1": 0.4, "event_F1": 0.1, "n_detected": 50, "n_events": 218, "fitted_threshold": None}
    found = {
        "commit": "0123456789",
        "n_bytes": 3_800_000,
        "cold_start": 0.25,
        "degraded": degraded,
        "sparse5": 0.3,
        "dense5": 0.4,
    }
    events["is_trimmed"] = True
    return {**found, "false_tags": false_tags, "events": events, "strangers": {"mean": 0.7, "all": 0.75}}


def test_the_page_has_a_column_for_each_model() -> None:
    models = {"student": figures(0.8, {"speech": 0.01, "music": 0.15}), "mn04": figures(0.7, None)}
    text = page(models)
    assert "| | student | mn04 |" in text and "| top-1, fold 5 telephone | 0.800 | 0.700 |" in text
    assert "| false tags a recording, speech | 0.01 | - |" in text and "| size of the file, MB | 3.8 | 3.8 |" in text
    assert "| commit | 0123456789 | 0123456789 |" in text
    # no event was found at the right place
    assert "| events: onset error, s | - | - |" in text
    del models["mn04"]["events"]["is_trimmed"]
    assert "| events: F1 of 0.1 s cells | 0.400 | 0.400 * |" in page(models)


def test_a_folder_alone_is_wrong_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["model-comparison", str(tmp_path)]) == 2
    assert "BANK, AUDIO, WORK and MODELS were expected" in capfd.readouterr().err


def test_two_models_of_one_name_are_wrong_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folders = [str(tmp_path / name) for name in ("bank", "audio", "work", "a/last.safetensors", "b/last.safetensors")]
    assert main(["model-comparison", *folders]) == 2
    assert "MODELS with different names were expected" in capfd.readouterr().err
