"""Kills `earmark detect` with SIGKILL, resumes it, and compares its table with that of an undisturbed run."""

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from earmark.annotations.formats import FORMATS
from earmark.audio.recording import Audio, save_audio
from earmark.errors import EarmarkError
from earmark.storage.files import sha256_of

_START: Final = datetime(2024, 5, 1, tzinfo=UTC)
_EVENTS: Final = ("--threshold", "0.2", "--max-gap", "0.5", "--min-duration", "0.5", "--pad", "0.1")


def detect_and_resume(work: Path, *, n_files: int = 2000, n_damaged: int = 3, jobs: int = 2, n_kills: int = 2) -> int:
    """Kill detect with SIGKILL on many short files, resume it, and compare its Parquet table with an undisturbed one.

    Args:
        work: Folder for the recordings and the tables.
        n_files: Number of recordings of 1 to 4 s that can be read.
        n_damaged: Number of damaged files beside them.
        jobs: Number of files worked on at the same time.
        n_kills: How often the command is killed, at equal shares of the recordings.
    """
    recordings = work / "recordings"
    if not recordings.exists():
        shutil.rmtree(work / "unfinished", ignore_errors=True)
        make_recordings(work / "unfinished", n_files, n_damaged)
        (work / "unfinished").rename(recordings)
    undisturbed, killed = work / "undisturbed.parquet", work / "killed.parquet"
    for table in (undisturbed, killed):
        table.unlink(missing_ok=True)
        _journal(table).unlink(missing_ok=True)
    words = ["detect", str(recordings), *_EVENTS, "--jobs", str(jobs), "--resume", "--out"]
    seconds, n_errors = run([*words, str(undisturbed)])
    kept = []
    for kill in range(n_kills):
        run([*words, str(killed)], killed, round((kill + 1) / (n_kills + 1) * n_files))
        if killed.exists():
            raise EarmarkError("the command ended before it was killed; more files are needed")
        kept.append(_n_kept(killed))
    _, n_errors_after = run([*words, str(killed)])
    digests = [sha256_of(table) for table in (undisturbed, killed)]
    is_same = digests[0] == digests[1]
    read = FORMATS["parquet"].read(killed)
    print(
        f"detect: {n_files} files and {n_damaged} damaged ones, {jobs} jobs, {seconds:.0f} s undisturbed: "
        f"{sum(len(recording.events) for recording in read)} events in {len(read)} files, {n_errors} errors\n"
        f"killed with SIGKILL when it had kept {', '.join(map(str, kept))} results, resumed: {n_errors_after} errors, "
        f"{'byte-identical' if is_same else 'DIFFERENT'} (SHA-256 {digests[1][:12]})"
    )
    return int(not is_same)


def make_recordings(folder: Path, n_files: int, n_damaged: int) -> None:
    """Writes bursts of noise, named as AudioMoth does, in a folder a day; the damaged files lie among them."""
    n_all = n_files + n_damaged
    damaged = {round((k + 1) / (n_damaged + 1) * n_all) for k in range(n_damaged)}
    for number in range(n_all):
        rng = np.random.default_rng(number)
        waveform = (0.1 * rng.standard_normal(round(16000 * rng.uniform(1, 4)))).astype(np.float32)
        waveform[: round(16000 * rng.uniform(0, 1))] *= 0.001
        time_ = _START + timedelta(minutes=10 * number)
        path = folder / f"{time_:%Y-%m-%d}" / f"{time_:%Y%m%d_%H%M%S}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_audio(path, Audio(waveform, 16000))
        if number in damaged:
            path.write_bytes(path.read_bytes()[:50])


def run(arguments: list[str], table: Path | None = None, kill_at: int = 0) -> tuple[float, int]:
    """Seconds that a command took, and the number of errors that it reported.

    Args:
        arguments: The words after `earmark`.
        table: The output of a command that is killed.
        kill_at: Number of results in the journal at which it is killed.

    Raises:
        EarmarkError: The command failed otherwise than by files that it cannot read.
    """
    start = time.monotonic()
    command = [sys.executable, "-m", "earmark", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        while table is not None and process.poll() is None:
            if _n_kept(table) >= kill_at:
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.01)
        errors = process.communicate()[1]
    if table is None and process.returncode not in (0, 1):
        raise EarmarkError(f"`earmark {' '.join(arguments)}` ended with status {process.returncode}: {errors}")
    return time.monotonic() - start, errors.count("error: ")


def _journal(table: Path) -> Path:
    return table.with_name(f".{table.name}.part")


def _n_kept(table: Path) -> int:
    journal = _journal(table)
    return journal.read_bytes().count(b'{"file"') if journal.exists() else 0
