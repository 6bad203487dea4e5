"""Writes results/damaged-files.md: what becomes of thousands of damaged recordings of all formats."""

import os
import platform
import re
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from earmark.errors import DataError
from earmark.parallel.processors import n_processors
from experiments.damage import KINDS
from experiments.steps import RESULTS, commit

_SECONDS_PER_FILE = 300.0
"""Time limit, far above the usual time even on a busy machine."""
MAX_MEBIBYTES = 300
"""Limit of peak memory above that for the undamaged files: a gap that is filled with silence has at most an hour."""
OUTCOMES = ("whole", "noted", "refused", "short")
"""Read without a warning, read with one, refused in one line; read short without a warning."""


@dataclass
class Tally:
    """The outcomes of damaged files."""

    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """By format, kind of damage and outcome."""
    failures: list[str] = field(default_factory=list)
    """Files that were read short without a warning, and other faults: number and description."""
    n_open: int = 0
    """Files left open at the end."""
    mebibytes: int = 0
    """Peak memory above that for the undamaged files."""

    @property
    def is_good(self) -> bool:
        """Whether nothing failed and nothing is left."""
        return not self.failures and not self.n_open and self.mebibytes < MAX_MEBIBYTES


def damaged_files(*, n_files: int = 10_000, out: Path = RESULTS / "damaged-files.md") -> int:
    """Read damaged recordings of all formats and count what becomes of them.

    Args:
        n_files: Number of damaged files.
        out: The page.
    """
    tally = read_all(n_files)
    text = page(tally, n_files)
    out.write_text(text, encoding="utf-8")
    print(text, end="")
    for failure in tally.failures:
        print(failure, file=sys.stderr)
    return int(not tally.is_good)


def read_all(n_files: int) -> Tally:
    """Reads the damaged files 0 to `n_files` in a process of their own.

    Raises:
        DataError: The process ended early or did not answer; the message holds what it printed last.
    """
    tally = Tally()
    left = None
    for line in _lines(n_files):
        words = line.split(maxsplit=4)
        if words[0] == "left":
            left = [int(number) for number in words[1:3]]
            continue
        number, file_format, kind, outcome = words[:4]
        tally.counts[file_format, kind, outcome] += 1
        if outcome not in ("whole", "noted", "refused"):
            tally.failures.append(f"file {number} ({file_format}, {kind}): {' '.join(words[3:])}")
    if left is None:
        raise DataError("the process that reads damaged files ended early")
    tally.n_open, tally.mebibytes = left
    return tally


def _lines(n_files: int) -> Iterator[str]:
    """The lines that the reading process prints."""
    reader = subprocess.Popen(
        [sys.executable, "-m", "experiments.damage", "0", str(n_files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parent.parent,
    )
    last = "nothing"
    try:
        while reader.stdout is not None:
            watch = threading.Timer(_SECONDS_PER_FILE, reader.kill)
            watch.start()
            line = reader.stdout.readline()
            watch.cancel()
            if not line.endswith("\n"):
                break
            # one decoder prints on standard output too
            if re.match(r"\d+ \S+ \S+ \S+|left ", line):
                yield line
                last = line.strip()
    finally:
        status = reader.wait()
    if status:
        raise DataError(
            f"the process that reads damaged files ended with status {status}, after: {last}; then {line!r}"
        )


def page(tally: Tally, n_files: int) -> str:
    """The page: outcomes by format and by kind of damage, in Markdown."""
    text = (
        "# Damaged recordings\n\nWritten by `python -m experiments damaged-files`, "
        f"commit {commit()}, {n_processors()} cores ({platform.machine()}): {n_files} damaged files of "
        "one to three seconds. A file counts as read short without a note when no warning names it and it gives less "
        "sound than was in it before, or than FFmpeg decodes from it.\n\n"
    )
    text += _table("format", {name: _sums(tally, 0, name) for name in sorted({key[0] for key in tally.counts})})
    text += "\n" + _table("damage", {kind: _sums(tally, 1, kind) for kind in KINDS})
    faults = len(tally.failures) - sum(_sums(tally, 2, "short").values())
    text += (
        f"\nCrashes and hangs: 0. Other errors than one clear line: {faults}. Files left open: {tally.n_open}. Peak "
        f"of memory above that for undamaged files: {tally.mebibytes} MiB.\n"
    )
    return text


def _sums(tally: Tally, position: int, value: str) -> Counter[str]:
    """Numbers of files by outcome, of those with a value at this position of their key."""
    sums: Counter[str] = Counter()
    for key, n in tally.counts.items():
        if key[position] == value:
            sums[key[2]] += n
    return sums


def _table(head: str, rows: Mapping[str, Counter[str]]) -> str:
    text = f"| {head} | files | read whole | read with a note | refused | read short without a note |\n"
    text += "|---|---:|---:|---:|---:|---:|\n"
    for name, counts in {**rows, "all": sum(rows.values(), Counter())}.items():
        numbers = " | ".join(str(counts[outcome]) for outcome in OUTCOMES)
        text += f"| {name} | {counts.total()} | {numbers} |\n"
    return text
