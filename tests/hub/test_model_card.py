"""The card of a model: metadata as the Hub reads it, and a page for people."""

import json
from collections.abc import Callable

import pytest
import yaml

from earmark.errors import ConfigError, DataError
from earmark.hub.model_card import card, licence_of
from earmark.inference.tagger import Tagger

REPORT = {"mAP": 0.91234, "mAUC": 0.99, "d_prime": None, "top1": 0.85, "n_clips": 397, "data": "ESC-50 (split 5)"}


@pytest.fixture
def write(mean_engine: Callable[..., object]) -> Callable[..., str]:
    """Writes the card of a tagger of low and high tones."""

    def written(report: dict[str, object] | None = None, **facts: object) -> str:
        tagger = Tagger(mean_engine(clip_duration=5.0))
        return card(tagger, "anna/tones", "cc-by-4.0", "hub,train", facts, {"pooling": "gmap"}, report)

    return written


def metadata(text: str) -> dict[str, object]:
    start, front, _ = text.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(front)


def test_the_front_matter_names_licence_labels_and_task(write: Callable[..., str]) -> None:
    assert metadata(write()) == {
        "license": "cc-by-4.0",
        "library_name": "earmark",
        "pipeline_tag": "audio-classification",
        "tags": ["audio-tagging", "sound-event-detection", "earmark"],
        "labels": ["low", "high", "never"],
    }


def test_figures_of_a_report_are_in_front_matter_and_page(write: Callable[..., str]) -> None:
    text = write(REPORT)
    found = metadata(text)
    assert found["metrics"] == ["mAP", "mAUC", "top1"], "d' is infinite there"
    (entry,) = found["model-index"]
    (result,) = entry["results"]
    assert entry["name"] == "tones" and result["task"]["type"] == "audio-classification"
    assert result["dataset"] == {"type": "esc-50-split-5", "name": "ESC-50 (split 5)"}
    assert [(each["type"], each["value"]) for each in result["metrics"]] == [
        ("mAP", 0.9123),
        ("mAUC", 0.99),
        ("top1", 0.85),
    ]
    assert "On 397 clips of ESC-50 (split 5)" in text and "| mAP | 0.9123 |" in text


def test_the_page_says_how_to_load_the_model_and_what_it_is(write: Callable[..., str]) -> None:
    text = write(data="a <b> | c", seed=3, other="hidden")
    assert "# tones" in text and "pip install 'earmark[hub,train]'" in text
    assert "earmark tag recording.wav --model hf://anna/tones" in text
    assert 'earmark.load("hf://anna/tones")' in text
    for row in ("| labels | 3 |", "| sample rate | 1000 Hz |", "| length of a segment | 0.4 s |", "| pooling | gmap |"):
        assert row in text
    assert r"| trained on | a \<b\> \| c |" in text and "| seed | 3 |" in text
    assert "hidden" not in text
    assert text.endswith("## Labels\n\nlow, high, never\n")


@pytest.mark.parametrize("report", [{}, {"mAP": 0.5}, json.loads('{"a": 1}')])
def test_another_file_is_no_report(write: Callable[..., str], report: dict[str, object]) -> None:
    with pytest.raises(DataError, match="`earmark evaluate MODEL DATA --out DIR` was expected"):
        write(report)


def test_licences_are_known_or_spelled_as_the_hub_does() -> None:
    assert licence_of("mn10", None) == "mit"
    assert licence_of("panns-cnn10", None) == "cc-by-4.0"
    assert licence_of("earmark-esc50", None) == "cc-by-nc-3.0"
    assert licence_of("run/best.safetensors", "apache-2.0") == "apache-2.0"
    with pytest.raises(ConfigError, match="licence: the licence of the weights was expected"):
        licence_of("run/best.safetensors", None)
    with pytest.raises(ConfigError, match=r"an identifier such as .* was expected, not 'CC BY 4\.0'"):
        licence_of("run/best.safetensors", "CC BY 4.0")
