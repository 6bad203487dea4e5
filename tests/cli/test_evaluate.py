"""`earmark evaluate`."""

import json
from pathlib import Path

import pytest
import torch

from earmark import cli
from earmark.cli.selection import select
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def knows_the_clips(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    config = NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2)
    Network(config, select(f"folder:{clips}").labels).save(path)
    return str(path)


def test_evaluate_prints_what_it_saves(clips: Path, knows_the_clips: str, tmp_path: Path, capfd: Capture) -> None:
    words = ["evaluate", knows_the_clips, f"folder:{clips}", "--split", "test", "--json", "--out", str(tmp_path)]
    assert cli.main(words) == 0
    captured = capfd.readouterr()
    report = json.loads(captured.out)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert (report["n_clips"], report["n_labels"], report["model"]) == (3, 3, knows_the_clips)
    assert "(split test)" in report["data"]
    assert "report.json" in captured.err


def test_evaluate_prints_a_table(clips: Path, knows_the_clips: str, capfd: Capture) -> None:
    assert cli.main(["evaluate", knows_the_clips, f"folder:{clips}", "--labels", "bell, siren", "--quiet"]) == 0
    captured = capfd.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines()[:5]] == ["mAP", "mAUC", "d'", "top-1", "clips"]
    assert "bell" in captured.out
    assert "hiss" not in captured.out
    assert captured.err == ""


def test_evaluate_with_one_label_has_no_auc(clips: Path, knows_the_clips: str, capfd: Capture) -> None:
    assert cli.main(["evaluate", knows_the_clips, f"folder:{clips}", "--labels", "bell"]) == 0
    printed = capfd.readouterr().out.splitlines()
    assert printed[1].split() == ["mAUC", "-"]
    assert printed[-1].split() == ["bell", "4", "1.000", "━" * 20, "-"]


def test_clips_that_cannot_be_read_are_named(clips: Path, knows_the_clips: str, tmp_path: Path, capfd: Capture) -> None:
    for label, name in (("bell", "whole.wav"), ("hiss", "cut.wav")):
        (tmp_path / label).mkdir()
        data = next((clips / "test" / label).iterdir()).read_bytes()
        (tmp_path / label / name).write_bytes(data if name == "whole.wav" else data[:1000])
    assert cli.main(["evaluate", knows_the_clips, f"folder:{tmp_path}"]) == 0
    captured = capfd.readouterr()
    assert captured.err.startswith("excluded from the metrics: 1 unreadable clip; ")
    assert "cut.wav" in captured.err


def test_evaluate_refuses_to_write_over_what_it_reads(
    clips: Path, knows_the_clips: str, tmp_path: Path, capfd: Capture
) -> None:
    words = ["evaluate", knows_the_clips, f"folder:{clips}", "--out"]
    assert cli.main([*words, knows_the_clips]) == 2
    assert "Only directory is allowed" in capfd.readouterr().err
    (tmp_path / "scores.npz").symlink_to(knows_the_clips)
    assert cli.main([*words, str(tmp_path)]) == 2
    assert "itself, which would be lost" in capfd.readouterr().err


def test_help_explains_null(capfd: Capture) -> None:
    assert cli.main(["evaluate", "--help"]) == 0
    shown = " ".join(capfd.readouterr().out.replace("│", " ").split())
    assert "is null: d_prime if mAUC is 1; top1, the accuracy of the first tag, unless each" in shown


def evaluated(tiny_audioset, folder: Path, *more: str) -> list[str]:
    """A command that evaluates one event, and those in more lines of the table."""
    torch.manual_seed(0)
    model, table = folder / "tagger.safetensors", folder / "strong.tsv"
    Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LabelSet.audioset()).save(model)
    head = "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
    table.write_text("".join((head, "0123456789__5500\t0.1\t0.3\t/m/0jbk\n", *more)))
    data = f"audioset:{tiny_audioset.save_folder(folder / 'audioset')}"
    return ["evaluate", str(model), data, "--split", "eval", "--strong", str(table)]


def test_strong_labels_add_detection_metrics(tiny_audioset, tmp_path: Path, capfd: Capture) -> None:
    words = evaluated(tiny_audioset, tmp_path, "-_xyzabc_12_12000\t0\t0.5\t/m/09x0r\n")
    assert cli.main([*words, "--json", "--out", str(tmp_path / "out")]) == 0
    report = json.loads(capfd.readouterr().out)
    found = report.pop("detection")
    assert (found["n_clips"], found["n_events"], found["n_labels"]) == (2, 2, 2)
    assert found == json.loads((tmp_path / "out" / "detection.json").read_text())
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    assert cli.main([*words, "--quiet"]) == 0
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()[3:6]] == ["PSDS1", "PSDS2", "F1"]


def test_soundscapes_know_their_events(clips: Path, knows_the_clips: str, tmp_path: Path, capfd: Capture) -> None:
    mixed = tmp_path / "mixed"
    words = ["--n-clips", "3", "--duration", "4", "--n-events", "1", "2", "--event-duration", "0.3", "1", "--quiet"]
    assert cli.main(["soundscapes", f"folder:{clips}", str(mixed), *words]) == 0
    capfd.readouterr()
    found = []
    for strong in (f"soundscapes:{mixed}", f"dcase:{mixed}/truth.tsv"):
        assert cli.main(["evaluate", knows_the_clips, f"soundscapes:{mixed}", "--strong", strong, "--json"]) == 0
        found.append(json.loads(capfd.readouterr().out)["detection"])
    assert found[0] == found[1] and found[0]["n_clips"] == 3


def test_clips_without_labels_are_noted(clips: Path, knows_the_clips: str, tmp_path: Path, capfd: Capture) -> None:
    sounds = sorted(clips.rglob("*.wav"))[:2]
    rows = f"path,labels\n{sounds[0]},bell\n{sounds[1]},\n"
    (tmp_path / "clips.csv").write_text(rows)
    assert cli.main(["evaluate", knows_the_clips, f"csv:{tmp_path / 'clips.csv'}"]) == 0
    assert "note: 1 clip without labels: all labels count as absent there" in capfd.readouterr().err


def test_clips_excluded_from_detection_are_reported(tiny_audioset, tmp_path: Path, capfd: Capture) -> None:
    twice = ("-_xyzabc_12_12000\t0\t0.5\t/m/09x0r\n", "-_xyzabc_12_22000\t0\t0.5\t/m/09x0r\n")
    assert cli.main(evaluated(tiny_audioset, tmp_path, *twice)) == 0
    shown = "excluded from event detection: 1 clip; -_xyzabc_12: expected one segment of the video, got"
    assert shown in capfd.readouterr().err


def test_the_report_is_kept_if_detection_fails(tiny_audioset, tmp_path: Path, capfd: Capture) -> None:
    words = evaluated(tiny_audioset, tmp_path)
    table = tmp_path / "strong.tsv"
    table.write_text(table.read_text().replace("0123456789__5500", "none_here__5500"))
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == 1
    assert "has strong labels that the model knows; check that clip ids match" in capfd.readouterr().err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json", "report.md", "scores.npz"}
