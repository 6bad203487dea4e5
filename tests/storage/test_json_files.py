"""JSON files."""

import json
from pathlib import Path

import pytest

from earmark.storage.json_files import json_value, write_json


def test_numbers_that_json_lacks_become_null() -> None:
    value = {"a": float("nan"), "b": [1.5, (float("-inf"), 2)], "c": {"d": "nan", "e": None, "f": True}}
    assert json_value(value) == {"a": None, "b": [1.5, [None, 2]], "c": {"d": "nan", "e": None, "f": True}}


def test_any_text_survives(tmp_path: Path) -> None:
    value = {"Männer": "犬\n", "file": "\udcff.wav"}
    write_json(tmp_path / "new" / "a.json", value)
    assert json.loads((tmp_path / "new" / "a.json").read_text(encoding="utf-8")) == value
    assert '{\n  "Männer": "犬\\n",' in (tmp_path / "new" / "a.json").read_text(encoding="utf-8")


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", [1])
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", [float("nan")])
    assert (tmp_path / "a.json").read_text() == "[\n  1\n]\n"
