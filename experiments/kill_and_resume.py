"""`earmark doctor` and `earmark pack` of many short files, killed with -9 again and again: the same bytes in the end?

python results/kill_and_resume.py WORK-FOLDER [--n-clips 10000] [--jobs 2] [--n-kills 3]

Makes the files (0.2 to 3 s of noise in three labels, some of them silent, damaged or there twice), runs each command
once undisturbed and once killed, with all its processes, after a random share of the undisturbed run's time, then goes
on with the same command. Exits with 1 where a byte differs.
"""

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from earmark.audio.recording import Audio, save_audio

LABELS = ("dog", "rain", "bell")


def make_clips(folder: Path, n_clips: int) -> None:
    """The files, in sub-folders that are their labels."""
    for number in range(n_clips):
        rng = np.random.default_rng(number if number % 500 else 0)  # every 500th sounds the same
        waveform = (0.1 * rng.standard_normal(round(22050 * rng.uniform(0.2, 3)))).astype(np.float32)
        if number % 333 == 1:
            waveform[:] = 0
        path = folder / LABELS[number % 3] / f"{number:05d}.{'flac' if number % 2 else 'wav'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_audio(path, Audio(waveform, 22050))
        if number % 333 == 2:
            path.write_bytes(path.read_bytes()[:50])


def run(arguments: list[str], kill_after: float | None = None) -> tuple[float, bool]:
    """Seconds that a command took, and whether it was killed before its end."""
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
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return time.monotonic() - start, False


def digest(folder: Path) -> str:
    """Of all names and bytes in a folder."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def main() -> None:
    """Prints a line for each command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    for name, default in (("n-clips", 10_000), ("jobs", 2), ("n-kills", 3), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    clips, rng = arguments.work / "clips", np.random.default_rng(arguments.seed)
    if not clips.exists():
        make_clips(arguments.work / "new", arguments.n_clips)
        (arguments.work / "new").rename(clips)
    same = True
    for name, words in (
        ("doctor", ["doctor", f"folder:{clips}", "--out"]),
        ("pack", ["pack", f"folder:{clips}", "--skip-bad", "--clips-per-shard", "250"]),
    ):
        undisturbed, killed = arguments.work / f"{name}-undisturbed", arguments.work / f"{name}-killed"
        for folder in (undisturbed, killed):
            shutil.rmtree(folder, ignore_errors=True)
        jobs = ["--jobs", str(arguments.jobs)]

        def into(folder: Path, words: list[str] = words, jobs: list[str] = jobs) -> list[str]:
            return (
                [*words, str(folder), *jobs] if words[-1] == "--out" else [*words[:2], str(folder), *words[2:], *jobs]
            )

        seconds, _ = run(into(undisturbed))
        n_kills = 0
        for _ in range(arguments.n_kills):
            n_kills += run(into(killed), seconds * rng.uniform(0.3, 0.7))[1]
        run(into(killed))
        is_same = digest(undisturbed) == digest(killed)
        same &= is_same
        n_files = sum(path.is_file() for path in undisturbed.rglob("*"))
        said = "byte-identical" if is_same else "DIFFERENT"
        sys.stdout.write(
            f"{name}: {arguments.n_clips} files, {arguments.jobs} jobs, {seconds:.0f} s undisturbed; killed {n_kills} "
            f"times and resumed: {n_files} files, {said} (SHA-256 of all {digest(killed)[:12]})\n"
        )
    raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
