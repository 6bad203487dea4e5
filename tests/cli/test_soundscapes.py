"""`earmark soundscapes`."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from earmark import cli
from earmark.audio.recording import Audio, save_audio
from earmark.data import open_data

Capture = pytest.CaptureFixture[str]


def test_soundscapes_are_data_for_the_other_commands(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "mixed"
    words = ["soundscapes", f"folder:{clips}", str(out), "--n-clips", "6", "--split", "train", "--labels", "bell,hiss"]
    short = ["--duration", "1", "--event-duration", "0.2", "0.4", "--n-events", "1", "2", "--seed"]
    assert cli.main([*words, *short, "3"]) == 0
    captured = capfd.readouterr()
    assert captured.out == f"soundscapes:{out}\n"
    assert captured.err.startswith("6 soundscapes with ")
    mixed = open_data(f"soundscapes:{out}")
    assert len(mixed) == 6
    assert mixed.labels.names == ("bell", "hiss")
    assert mixed.splits == ("train",)
    assert mixed[0].load(16000).duration == 1.0

    assert cli.main([*words, *short, "3", "--json", "-q"]) == 0
    captured = capfd.readouterr()
    summary = json.loads(captured.out)
    assert summary.items() >= {"data": f"soundscapes:{out}", "n_clips": 6, "n_labels": 2, "seed": 3}.items()
    assert summary["n_events"] == len((out / "truth.tsv").read_text().splitlines()) - 1
    assert captured.err == ""

    assert cli.main([*words, *short, "4"]) == 1
    assert "holds other soundscapes" in capfd.readouterr().err


def test_ctrl_c_while_mixing_explains_how_to_resume(
    clips: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("earmark.cli.soundscapes.render_soundscapes", interrupted)
    words = ["soundscapes", f"folder:{clips}", str(tmp_path / "out"), "--n-clips", "2", "--duration", "1"]
    short = ["--event-duration", "0.2", "0.4", "--n-events", "1", "1"]
    assert cli.main([*words, *short]) == 130
    assert capfd.readouterr().err == "error: interrupted; run the same command again to resume\n"


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_sounds_may_have_names_that_are_no_utf8(tmp_path: Path) -> None:
    for k, label in enumerate(("bell", "hiss")):
        noise = np.random.default_rng(k).standard_normal(8000).astype(np.float32) / 10
        save_audio(tmp_path / "bank\udc85" / label / f"{k}\udcff.wav", Audio(noise, 8000))
    bank, out = f"folder:{tmp_path}/bank\udc85", tmp_path / "out\udc85"
    words = [
        bank,
        str(out),
        "--n-clips",
        "2",
        "--n-events",
        "1",
        "2",
        "--duration",
        "1",
        "--event-duration",
        "0.1",
        "0.5",
    ]
    assert cli.main(["soundscapes", *words, "--quiet"]) == 0
    sources = {source for clip in open_data(f"soundscapes:{out}") for source in str(clip.group).split(" + ")}
    assert sources and sources <= {str(clip.audio.source) for clip in open_data(bank)}
