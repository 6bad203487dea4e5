"""Annotations of other programs, from `earmark doctor` to `earmark evaluate --strong`."""

import json
from pathlib import Path

import numpy as np
import pytest

from earmark import cli
from earmark.audio.recording import Audio, save_audio
from earmark.data import open_data

Capture = pytest.CaptureFixture[str]
RATE = 16000
HEADER = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tRuf\n"
RULES = ["--negatives", "2", "--pad", "0.1", "--label-column", "Ruf"]


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of 6 seconds, each with two tones that Raven's tables name in two views."""
    folder = tmp_path_factory.mktemp("annotated")
    noise = np.random.default_rng(0)
    for name in "abc":
        waveform = 0.01 * noise.standard_normal(6 * RATE)
        rows = []
        for number, (label, frequency) in enumerate((("low", 300), ("high", 3000)), 1):
            onset, tone = 2.5 * number - 2, np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE)
            waveform[int(onset * RATE) :][: len(tone)] += 0.3 * tone
            times = f"{onset}\t{onset + 1}".replace(".", ",")
            rows += [f"{number}\t{view} 1\t1\t{times}\t0\t8000\t{label}\n" for view in ("Waveform", "Spectrogram")]
        save_audio(folder / f"{name}.wav", Audio(waveform.astype(np.float32), RATE))
        (folder / f"{name}.Table.1.selections.txt").write_text(HEADER + "".join(rows))
    return folder


@pytest.fixture(scope="module")
def run(annotated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the annotations."""
    out = tmp_path_factory.mktemp("run") / "run"
    small = ["--width", "2", "--n-heads", "2", "--sample-rate", str(RATE), "--clip-duration", "1", "--n-workers", "0"]
    budget = ["--n-clips-seen", "96", "--batch-size", "8", "--learning-rate", "0.01", "--device", "cpu", "-q"]
    assert cli.main(["train", f"raven:{annotated}", "--out", str(out), *RULES, *small, *budget]) == 0
    return out


def test_a_run_repeats_with_the_rules_of_its_clips(annotated: Path, run: Path, tmp_path: Path, capfd: Capture) -> None:
    record = json.loads((run / "run.json").read_text())
    rules = {"negatives": 2, "pad": 0.1, "label_column": "Ruf"}
    assert {name: value for name, value in record["request"].items() if value is not None} == {
        "data": f"raven:{annotated}",
        **rules,
    }
    assert record["config"]["allow_unlabelled"] is True
    assert cli.main(["train", "--config", str(run / "run.json"), "--out", str(tmp_path / "again"), "-q"]) == 0
    assert (tmp_path / "again" / "last.safetensors").read_bytes() == (run / "last.safetensors").read_bytes()


def test_detection_is_measured_on_whole_recordings(annotated: Path, run: Path, capfd: Capture) -> None:
    model, data = str(run / "last.safetensors"), f"raven:{annotated}"
    words = ["evaluate", model, data, "--strong", data, "--label-column", "ruf", "--json", "-q"]
    assert cli.main(words) == 0
    report = json.loads(capfd.readouterr().out)
    assert report["n_clips"] == 6
    assert {name: report["detection"][name] for name in ("n_clips", "n_events", "n_labels")} == {
        "n_clips": 3,
        "n_events": 6,
        "n_labels": 2,
    }


def test_calibration_takes_annotations(annotated: Path, run: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "calibrated.safetensors"
    words = ["calibrate", str(run / "last.safetensors"), f"raven:{annotated}", *RULES, "--out", str(out)]
    assert cli.main([*words, "--json", "-q"]) == 0
    assert json.loads(capfd.readouterr().out)["data"][0]["n_clips"] == 8


def test_the_clean_list_of_the_doctor_makes_the_same_clips(annotated: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "report"
    assert cli.main(["doctor", f"raven:{annotated}", *RULES, "--keep", "unlabelled", "--out", str(out), "-q"]) == 0
    clean = open_data(f"clips:{out / 'clean.txt'}")
    assert len(clean) == 8 and clean[0].id == "a.wav@0.4-1.6"


@pytest.mark.parametrize("command", ["doctor", "train"])
def test_rules_for_clips_without_annotations_are_refused(
    command: str, clips: Path, tmp_path: Path, capfd: Capture
) -> None:
    assert cli.main([command, f"folder:{clips}", "--out", str(tmp_path / "out"), "--shortest-clip", "2"]) == 1
    assert "error: --shortest-clip: it makes clips from annotations; data from raven:, " in capfd.readouterr().err


def test_a_fault_is_one_line_with_file_line_and_column(annotated: Path, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "x.selections.txt").write_text(HEADER + "1\tW\t1\t1\t2,5s\t0\t1\tdog\n")
    assert cli.main(["train", f"raven:{tmp_path}", "--out", str(tmp_path / "run"), *RULES]) == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert f"{tmp_path / 'x.selections.txt'}, line 2, column End Time (s): expected a number, got '2,5s'" in error
    assert cli.main(["train", f"raven:{tmp_path}", "--out", str(tmp_path / "run")]) == 1
    assert capfd.readouterr().err.endswith("; name yours (--label-column ruf)\n")


def test_clips_without_a_label_contradict_a_choice_of_labels(annotated: Path, tmp_path: Path, capfd: Capture) -> None:
    words = ["train", f"raven:{annotated}", "--out", str(tmp_path / "run"), *RULES]
    assert cli.main([*words, "--labels", "low"]) == 1
    assert "error: --negatives: --labels keeps only clips with one of the labels" in capfd.readouterr().err
