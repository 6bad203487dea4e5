"""The wheel in an empty environment, without PyTorch."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel of this tree and its dependencies; skipped without a package index."""
    folder = tmp_path_factory.mktemp("light")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    built = subprocess.run(build, capture_output=True, text=True)
    if built.returncode and os.environ.get("CI", "").lower() not in {"1", "true", "yes", "on"}:
        pytest.skip(f"the wheel cannot be built here: {built.stderr.strip().splitlines()[-1]}")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    install = [str(folder / "venv/bin/python"), "-m", "pip", "install", "-q", "--no-compile"]
    subprocess.run([*install, "-c", str(ROOT / "constraints.txt"), str(wheel)], check=True)
    return folder


def run(environment: Path, program: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [environment / "venv/bin" / program, *words]
    return subprocess.run(command, capture_output=True, text=True, env=clean, cwd=cwd)


def test_the_wheel_has_the_exported_model_but_not_its_checkpoint(environment: Path) -> None:
    (wheel,) = environment.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name).name for name in archive.namelist()}
        assert all(name.startswith("earmark") for name in archive.namelist())
    assert "earmark-esc50.onnx" in names and "MODEL_CARD.md" in names and "earmark-esc50.safetensors" not in names


def test_a_file_is_tagged_without_pytorch(environment: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sound = tmp_path / "noise.wav"
    save_audio(sound, Audio((0.1 * rng.standard_normal(32000)).astype(np.float32), 16000))
    assert run(environment, "python", "-c", "import torch").returncode == 1
    for command in (["tag", sound], ["timeline", sound], ["evidence", sound, "rain"]):
        done = run(environment, "earmark", *map(str, command))
        assert done.returncode == 0 and str(sound) in done.stdout, done.stderr
    library = f"import earmark; print(earmark.load().tag({str(sound)!r})[0].label)"
    assert (
        run(environment, "python", "-c", library).stdout.strip()
        in run(environment, "earmark", "tag", str(sound)).stdout
    )
    script = run(environment, "earmark", "completion", "bash")
    assert script.returncode == 0 and "serve" in script.stdout and "--threshold" in script.stdout, script.stderr
    report = run(environment, "earmark", "doctor", f"folder:{tmp_path}", "--out", str(tmp_path / "report"))
    assert report.returncode in (0, 1) and "Traceback" not in report.stderr, report.stderr
    metrics = "from earmark.evaluation.metrics import average_precision as ap; print(ap([[1], [0]], [[0.9], [0.1]])[0])"
    assert run(environment, "python", "-c", metrics).stdout.strip() == "1.0"


@pytest.mark.parametrize("command", ["train folder:clips --out run", "tag x.wav --engine torch", "demo --out demo"])
def test_a_command_that_needs_an_extra_names_it_in_one_line(environment: Path, tmp_path: Path, command: str) -> None:
    for label in ("dog", "rain"):
        save_audio(tmp_path / "clips" / label / "a.wav", Audio(np.linspace(-0.5, 0.5, 32000), 32000))
    done = run(environment, "earmark", *command.split(), cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "pip install 'earmark[train" in done.stderr, done.stderr
