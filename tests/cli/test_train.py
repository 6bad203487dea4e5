"""`earmark train`."""

import json
from pathlib import Path

import numpy as np
import pytest

from earmark import cli
from earmark.audio.recording import Audio, save_audio
from earmark.cli import main
from earmark.training.recipes import RECIPES, recipe

Capture = pytest.CaptureFixture[str]


SMALL = ["--width", "2", "--n-heads", "2", "--sample-rate", "16000", "--n-workers", "0", "--device", "cpu", "-q"]


def test_a_run_and_its_repetition(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    run, again = tmp_path / "run", tmp_path / "again"
    words = ["train", f"folder:{clips}", "--split", "train", "--valid-split", "test", "--out", str(run)]
    assert cli.main([*words, *SMALL, "--n-clips-seen", "8", "--batch-size", "4", "--no-balanced", "--json"]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    summary = json.loads(captured.out)
    assert (summary["best"], summary["last"]) == (str(run / "best.safetensors"), str(run / "last.safetensors"))
    assert 0 < summary["best_epoch"]["valid_mAP"] <= 1
    record = json.loads((run / "run.json").read_text())
    asked = {"data": f"folder:{clips}", "split": "train", "valid": None, "valid_split": "test", "labels": None}
    assert record["request"] == asked | {"label_separator": None, "add": None}
    assert record["config"].items() >= {"width": 2, "balanced": False, "batch_size": 4}.items()

    assert cli.main(["train", "--config", str(run / "run.json"), "--out", str(again), "-q"]) == 0
    assert capfd.readouterr().out.startswith(f"{again / 'best.safetensors'}  (epoch ")
    assert (again / "last.safetensors").read_bytes() == (run / "last.safetensors").read_bytes()

    assert cli.main(["train", "--resume", "--out", str(run), "-q"]) == 0, "a finished run is its result"
    assert cli.main(["train", "--resume", "--out", str(run), "--width", "4"]) == 1
    assert "width 2 -> 4" in capfd.readouterr().err


def test_flags_override_a_file_of_settings(tmp_path: Path, clips: Path, capfd: Capture) -> None:
    settings = tmp_path / "small.toml"
    settings.write_text('width = 3\nn_heads = 2\nbalanced = false\nlearning_rate = 0.1\nn_workers = 0\nlabels = "bell"')
    words = ["train", f"folder:{clips}", "--config", str(settings), "--out", str(tmp_path / "run"), "--width", "2"]
    tiny = ["--n-clips-seen", "2", "--batch-size", "2", "--sample-rate", "16000", "--labels", "bell,hiss", "--balanced"]
    assert cli.main([*words, *tiny, "-q"]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    expected = {"width": 2, "n_heads": 2, "balanced": True, "learning_rate": 0.1, "n_workers": 0, "batch_size": 2}
    assert record["config"].items() >= expected.items()
    assert record["request"]["labels"] == "bell,hiss"


def test_clips_are_added_whose_other_labels_are_unknown(tmp_path: Path, clips: Path, capfd: Capture) -> None:
    recording = sorted(clips.rglob("*.wav"))[0]
    (tmp_path / "more.csv").write_text(f"path,labels,known\n{recording},siren,siren\n")
    words = ["train", f"folder:{clips}", "--split", "train", "--add", f"csv:{tmp_path / 'more.csv'}"]
    assert cli.main([*words, "--out", str(tmp_path / "run"), *SMALL, "--n-clips-seen", "4", "--batch-size", "2"]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    train = record["data"]["train"]
    assert train["name"].endswith(" + more.csv") and record["request"]["add"] == [f"csv:{tmp_path / 'more.csv'}"]
    assert cli.main(["train", "--resume", "--out", str(tmp_path / "run"), "-q"]) == 0


@pytest.mark.parametrize("name", ["fine", "light"])
def test_a_recipe_is_chosen_by_name(name: str, tmp_path: Path, clips: Path, capfd: Capture) -> None:
    words = ["train", f"folder:{clips}", "--config", name, "--out", str(tmp_path / "run"), *SMALL]
    assert cli.main([*words, "--n-clips-seen", "2", "--batch-size", "2", "--clip-duration", "1"]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    changed = {"width": 2, "n_heads": 2, "sample_rate": 16000, "n_clips_seen": 2, "batch_size": 2, "clip_duration": 1.0}
    changed |= {"n_workers": 0, "device": "cpu"}
    assert record["config"] == {**recipe(name).to_json(), **changed}


def test_a_mistyped_recipe_is_refused(tmp_path: Path, clips: Path, capfd: Capture) -> None:
    words = ["train", f"folder:{clips}", "--out", str(tmp_path / "run"), "-q", "--config"]
    assert cli.main([*words, "papr"]) == 2
    recipes = ", ".join(RECIPES)
    assert f"error: papr: a file or one of the recipes {recipes} was expected" in capfd.readouterr().err
    assert cli.main([*words, "papr.toml"]) == 1
    assert capfd.readouterr().err == "error: papr.toml: No such file or directory\n"


def test_help_names_the_recipes(capfd: Capture) -> None:
    assert cli.main(["train", "--help"]) == 0
    assert ", ".join(RECIPES) in " ".join(capfd.readouterr().out.replace("│", " ").split())


def test_data_on_the_command_line_replace_the_splits_and_labels_of_a_file(
    tmp_path: Path, clips: Path, capfd: Capture
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"data": "folder:gone", "split": "1", "valid": "folder:gone", "labels": "cat", "width": 2}')
    words = ["train", "--config", str(settings), "--out", str(tmp_path / "run"), "--split", "third"]
    assert cli.main([*words, f"folder:{clips}"]) == 1
    assert f"{clips.name}: no split third; the splits are test, train" in capfd.readouterr().err
    assert cli.main(words) == 1
    assert "gone" in capfd.readouterr().err


def test_a_run_repeated_or_resumed_from_another_folder(
    tmp_path: Path, clips: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "clips").symlink_to(clips)
    monkeypatch.chdir(tmp_path / "here")
    assert cli.main(["train", "folder:clips", "--out", "run", *SMALL, "--n-clips-seen", "2", "--batch-size", "2"]) == 0
    assert str(tmp_path) not in (tmp_path / "here" / "run" / "run.json").read_text(), "a record may be published"
    monkeypatch.chdir(tmp_path / "elsewhere")
    record = "../here/run/run.json"
    for words in (["--resume", "--out", "../here/run"], ["--config", record, "--out", "again"]):
        capfd.readouterr()
        assert cli.main(["train", *words, "-q"]) == 1
        printed = capfd.readouterr().err
        assert printed.startswith("error: clips: no such folder; ")
        assert f"the paths in {record} are relative to the folder where that run was started" in printed
    for words in ([], ["--config", "small"]):
        assert cli.main(["train", "folder:clips", *words, "--out", "again", "-q"]) == 1
        assert "are relative to" not in capfd.readouterr().err, "said of a file's data alone"


def test_a_run_needs_its_own_folder(tmp_path: Path, clips: Path, capfd: Capture) -> None:
    (tmp_path / "thesis.doc").touch()
    assert cli.main(["train", f"folder:{clips}", "--out", str(tmp_path), *SMALL]) == 1
    assert f"error: {tmp_path}: holds other files (thesis.doc); give a new or empty" in capfd.readouterr().err


def test_errors_name_flags_not_settings(tmp_path: Path, clips: Path, capfd: Capture) -> None:
    words = ["train", f"folder:{clips}", "--out", str(tmp_path / "run"), "-q"]
    assert cli.main([*words, "--width", "2", "--n-heads", "3"]) == 2
    assert capfd.readouterr().err.startswith("error: --n-heads: a divisor of the 16 channels")
    (tmp_path / "clips" / "dog").mkdir(parents=True)
    (tmp_path / "clips" / "dog" / "1.wav").write_bytes(b"nothing")
    assert cli.main([words[0], f"folder:{tmp_path / 'clips'}", *words[2:-1], *SMALL]) == 1
    assert "repair or remove it, or train without it (--skip-bad)" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"widht": 3}', "did you mean 'width'"),
        ('{"config": {"width": 0}}', "width: at least 1 was expected, not 0"),
        ('{"config": {}, "request": {"dat": "x"}}', "not dat='x'"),
        ('{"config": {}, "request": ["x"]}', "not ['x']"),
        ('{"split": [1, 2]}', "not split=[1, 2]"),
        ("[1]", "settings by name were expected, not a list"),
        ("{", "a run.json or another JSON or TOML file of settings was expected"),
    ],
)
def test_an_invalid_settings_file_is_refused(tmp_path: Path, capfd: Capture, text: str, message: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    assert cli.main(["train", "folder:x", "--out", str(tmp_path / "run"), "--config", str(path)]) == 2
    printed = capfd.readouterr().err
    assert printed.startswith(f"error: {path}: ")
    assert message in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize(("rate", "warned"), [(16000, True), (32000, False)])
def test_recordings_below_the_rate_of_the_network_are_reported(
    tmp_path: Path, capfd: Capture, rate: int, warned: bool
) -> None:
    for label in ("dog", "rain"):
        save_audio(tmp_path / "clips" / label / "1.wav", Audio(np.full(rate, 0.1, np.float32), rate))
    arguments = [
        "train",
        f"folder:{tmp_path / 'clips'}",
        "--out",
        str(tmp_path / "run"),
        "--width",
        "2",
        "--n-heads",
        "2",
    ]
    assert main([*arguments, "--n-clips-seen", "2", "--batch-size", "2"]) == 0
    assert ("the network of 32000 Hz" in capfd.readouterr().err) is warned


def test_a_pack_below_the_rate_of_the_network_is_reported(tmp_path: Path, clips: Path, capfd: Capture) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pytest.importorskip("fsspec", reason="fsspec is not installed")
    packed = tmp_path / "packed"
    assert main(["pack", f"folder:{clips}", str(packed), "--sample-rate", "16000", "--jobs", "1", "-q"]) == 0
    capfd.readouterr()
    words = ["train", f"parquet:{packed}", "--out", str(tmp_path / "run"), "--width", "2", "--n-heads", "2"]
    assert main([*words, "--n-clips-seen", "2", "--batch-size", "2", "--n-workers", "0", "--device", "cpu"]) == 0
    assert "the recordings have a sample rate of 16000 Hz, the network of 32000 Hz" in capfd.readouterr().err


def test_a_run_starts_from_the_weights_of_a_model(tmp_path: Path, clips: Path, model: str, capfd: Capture) -> None:
    words = ["train", f"folder:{clips}", "--init", model, "--out", str(tmp_path / "run"), "--n-workers", "0"]
    tiny = ["--n-clips-seen", "2", "--batch-size", "2", "--n-heads", "2", "--device", "cpu"]
    assert main([*words, *tiny, "--hop-ms", "10", "-q"]) == 1
    printed = capfd.readouterr().err
    assert printed.endswith("or start without a checkpoint (--hop-ms 25.0)\n") and len(printed.splitlines()) == 1
    assert printed.startswith(f"error: --hop-ms: 25 was expected, as in {model}")
    assert main([*words, *tiny]) == 0
    printed = capfd.readouterr().err
    expected = (
        "backbone, gmap pooling and hidden layer taken over; 3 labels start with random weights "
        "(16000 Hz, 64 mel bins, frames of "
    )
    assert f"{model}: {expected}25 ms, width 2)\n" in printed
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["init"]["model"] == record["config"]["init"] == model
    assert main([*words[:-4], "--out", str(tmp_path / "other"), *tiny, "-q"]) == 0
    assert capfd.readouterr().err == ""
