"""The head of earmark-esc50 with examples of nothing: the page and wrong usage."""

from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.degraded import DEGRADATIONS
from experiments.esc50_head import AS_TRAINED, FURTHER, THRESHOLDS, WITH_NOTHING, page


def row(variant: str, seed: int, top1: float) -> dict[str, object]:
    false_tags = {"speech": {"n": 3, "tags": 1.5}, "music": {"n": 4, "tags": 0.25}}
    values = {"mAP": 0.6, "precision": 0.7, "recall": 0.8, "sparse5": 0.3, "dense5": 0.4, "false_tags": false_tags}
    values["events"] = {"F1": 0.2, "event_F1": 0.1, "onset": 0.3, "offset": 0.4, "n_detected": 50, "n_events": 60}
    return {"variant": variant, "seed": seed, "top1": top1, **values}


def test_the_page_shows_means_and_spread_of_the_seeds() -> None:
    rows = [row(AS_TRAINED, 0, 0.5), row(THRESHOLDS, 0, 0.5)]
    rows += [row(variant, seed, 0.4 + 0.2 * seed) for seed in (0, 1) for variant in (FURTHER, WITH_NOTHING)]
    for one in (rows[0], rows[3]):
        one["degraded"] = {name: {"top1": 0.25} for name in DEGRADATIONS}
    found = {
        "commit": "0123456789",
        "clips seen by the model": 160_000,
        "rows": rows,
        "trained on": {"speech": 5, "music": 6},
        "sources": ["a (CC0)"],
    }
    text = page(found)
    assert f"| {AS_TRAINED} | 0.500 | 0.600 | 0.700 | 0.800 | 0.300 | 0.400 | 1.500 | 0.250 |" in text
    assert f"| {WITH_NOTHING} | 0.500 (0.400 to 0.600) | 0.600 (0.600 to 0.600) |" in text
    assert f"| {AS_TRAINED} | 0.200 | 0.100 | 0.300 | 0.400 | 50 | 60 |" in text
    assert "| telephone | 0.250 | 0.250 |" in text and "3 of speech and 4 of music" in text
    assert "5 of speech and 6 of music, from a (CC0)." in text


def test_one_argument_alone_is_wrong_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["esc50-head", str(tmp_path)]) == 2
    assert "BANK, AUDIO, MODEL, SHIPPED and WORK were expected" in capfd.readouterr().err
