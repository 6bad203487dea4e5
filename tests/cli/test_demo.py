"""`earmark demo`, without its work."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import earmark.demo
from earmark import cli

Capture = pytest.CaptureFixture[str]


class Result:
    def show(self, console: Console) -> None:
        console.print("figures of [bold]GMAP[/bold]")

    def to_json(self) -> dict[str, Any]:
        return {"scene": "demo/scene.flac"}


def test_demo_passes_its_arguments_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: Capture) -> None:
    calls: list[tuple[Path, int, bool]] = []

    def run_demo(out: Path, seed: int, *, progress: bool) -> Result:
        calls.append((out, seed, progress))
        return Result()

    monkeypatch.setattr(earmark.demo, "run_demo", run_demo)
    assert cli.main(["demo"]) == 0
    assert capfd.readouterr().out == "figures of [bold]GMAP[/bold]\n"
    assert cli.main(["demo", "--out", str(tmp_path), "--seed", "3", "--quiet", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"scene": "demo/scene.flac"}
    assert calls == [(Path("demo"), 0, True), (tmp_path, 3, False)]


def test_a_file_is_no_folder_for_the_demo(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["demo", "--out", str(tmp_path / "file")]) == 2
    assert "Only directory is allowed" in capfd.readouterr().err
