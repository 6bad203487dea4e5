"""`earmark models`."""

import json

import pytest

from earmark import cli
from earmark.hub.published import PUBLISHED, SHIPPED


def test_the_table_names_every_model_and_where_it_is(
    tmp_path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EARMARK_CACHE", str(tmp_path))
    (tmp_path / "mn10_as_mAP_471.pt").touch()
    assert cli.main(["models"]) == 0
    heading, *lines = capfd.readouterr().out.splitlines()
    assert heading.split()[0] == "name" and [line.split()[0] for line in lines] == [*SHIPPED, *PUBLISHED]
    places = {line.split()[0]: line for line in lines}
    assert "in the package" in places["earmark-esc50"] and "to download" in places["mn04"]
    assert all(
        word in places["mn10"] for word in ("AudioSet (527)", "0.471", "4.88 M", "0.54 G", "20 MB", "MIT", "cached")
    )


def test_json_has_the_figures(tmp_path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EARMARK_CACHE", str(tmp_path))
    assert cli.main(["models", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capfd.readouterr().out)}
    assert rows["mn04"]["n_bytes"] == 4_066_513 and rows["mn04"]["path"] is None
    assert rows["mn04"]["url"].endswith("/mn04_as_mAP_432.pt") and rows["earmark-esc50"]["url"] is None
