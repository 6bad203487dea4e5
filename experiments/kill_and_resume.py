"""Prints the last part of results/audioset-shaped.md: `doctor` and `pack` killed with SIGKILL and resumed.

Each command runs once undisturbed and once killed, with all its processes, after a random share of the undisturbed
run's time; the same command then resumes. The bytes of both results must be the same.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from earmark.audio.recording import Audio, save_audio
from earmark.errors import EarmarkError
from earmark.storage.files import sha256_of

LABELS: Final = ("dog", "rain", "bell")


def kill_and_resume(work: Path, *, n_clips: int = 10_000, jobs: int = 2, n_kills: int = 3, seed: int = 0) -> int:
    """Kill doctor and pack with SIGKILL, resume them, and compare the bytes of the results.

    Args:
        work: Folder for the clips and the results.
        n_clips: Number of short files.
        jobs: Number of processes of each command.
        n_kills: How often each command is killed.
        seed: Seed of the moments at which it is killed.
    """
    clips = work / "clips"
    if not clips.exists():
        make_clips(work / "unfinished", n_clips)
        (work / "unfinished").rename(clips)
    generator = np.random.default_rng(seed)
    data, many = f"folder:{clips}", ["--jobs", str(jobs)]
    commands: dict[str, Callable[[Path], list[str]]] = {
        "doctor": lambda out: ["doctor", data, "--out", str(out), *many],
        "pack": lambda out: ["pack", data, str(out), "--skip-bad", "--clips-per-shard", "250", *many],
    }
    all_same = True
    for name, command in commands.items():
        undisturbed, killed = work / f"{name}-undisturbed", work / f"{name}-killed"
        for folder in (undisturbed, killed):
            shutil.rmtree(folder, ignore_errors=True)
        seconds, _ = run(command(undisturbed))
        times_killed = sum(run(command(killed), seconds * generator.uniform(0.3, 0.7))[1] for _ in range(n_kills))
        run(command(killed))
        is_same = digest(undisturbed) == digest(killed)
        all_same &= is_same
        n_files = sum(path.is_file() for path in undisturbed.rglob("*"))
        print(
            f"{name}: {n_clips} files, {jobs} jobs, {seconds:.0f} s undisturbed; killed {times_killed} times and "
            f"resumed: {n_files} files, {'byte-identical' if is_same else 'DIFFERENT'} "
            f"(SHA-256 of all {digest(killed)[:12]})"
        )
    return int(not all_same)


def make_clips(folder: Path, n_clips: int) -> None:
    """Writes 0.2 to 3 s of noise a file, in a sub-folder for each label; some are silent, damaged or duplicates."""
    for number in range(n_clips):
        rng = np.random.default_rng(number if number % 500 else 0)  # every 500th is a duplicate
        waveform = (0.1 * rng.standard_normal(round(22050 * rng.uniform(0.2, 3)))).astype(np.float32)
        if number % 333 == 1:
            waveform[:] = 0
        path = folder / LABELS[number % 3] / f"{number:05d}.{'flac' if number % 2 else 'wav'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_audio(path, Audio(waveform, 22050))
        if number % 333 == 2:
            path.write_bytes(path.read_bytes()[:50])


def run(arguments: list[str], kill_after: float | None = None) -> tuple[float, bool]:
    """Seconds that a command took, and whether it was killed before its end.

    Raises:
        EarmarkError: The command failed.
    """
    start = time.monotonic()
    command = [sys.executable, "-m", "earmark", *arguments, "--quiet"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            process.wait(kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return time.monotonic() - start, True
    if process.returncode:
        raise EarmarkError(f"`earmark {' '.join(arguments)}` ended with status {process.returncode}")
    return time.monotonic() - start, False


def digest(folder: Path) -> str:
    """SHA-256 of all names and bytes in a folder."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)}\0{sha256_of(path)}\n".encode())
    return found.hexdigest()
