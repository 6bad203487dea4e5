"""Flags of events."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from earmark.cli.event_flags import EventFlags, labels_of, threshold_of
from earmark.errors import ConfigError, DataError
from earmark.inference.events import EventSettings
from earmark.labels import LabelSet

LABELS = LabelSet(("dog", "rain"), ("/d", "/r"))


def test_flags_and_settings_have_the_same_fields_and_defaults() -> None:
    def defaults(cls: Any) -> dict[str, Any]:
        return {field.name: field.default for field in fields(cls)}

    assert defaults(EventFlags) == defaults(EventSettings)
    assert EventFlags().settings(LABELS) == EventSettings()


def test_labels_and_thresholds_come_from_the_line_or_from_files(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,threshold\nrain,0.25\n")
    both = EventFlags(labels=str(tmp_path / "t.csv"), threshold=tmp_path / "t.csv", pad=1.0).settings(LABELS)
    assert both == EventSettings(labels=("rain",), threshold={"rain": 0.25}, pad=1.0)
    assert EventFlags(labels="rain, /d", threshold="auto").settings(LABELS).labels == ("rain", "/d")
    with pytest.raises(DataError, match=r"gone\.txt: no such file"):
        EventFlags(labels="gone.txt").settings(LABELS)
    (tmp_path / "t.csv").write_text("label,threshold\nrian,0.25\n")
    for flags in (EventFlags(labels=str(tmp_path / "t.csv")), EventFlags(threshold=tmp_path / "t.csv")):
        with pytest.raises(DataError, match=r"t\.csv: unknown label 'rian': did you mean 'rain'"):
            flags.settings(LABELS)


def test_a_label_is_no_file_of_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dog").write_text("rain\n")
    assert EventFlags(labels="dog").settings(LABELS).labels == ("dog",)


def test_a_list_of_labels_may_be_longer_than_any_path() -> None:
    assert labels_of(",".join(["dog", "rain"] * 1000), LABELS) == ("dog", "rain") * 1000
    with pytest.raises(DataError, match="unknown label 'rian': did you mean 'rain'"):
        labels_of("dog,rian", LABELS)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), Path("gone")])
def test_a_threshold_is_a_score_auto_or_a_file(value: Any) -> None:
    with pytest.raises(ConfigError, match="threshold: a score from 0 to 1, auto or a file of thresholds was expected"):
        EventFlags(threshold=value)


def test_a_missing_file_of_thresholds_is_named() -> None:
    with pytest.raises(ConfigError, match=r"threshold: gone\.csv: no such file of thresholds"):
        EventFlags(threshold=Path("gone.csv"))


def test_other_thresholds_stay_as_they_are() -> None:
    assert [threshold_of(value, LABELS) for value in (None, 0.3, "auto")] == [None, 0.3, "auto"]
