"""`runs.jsonl`: one line for each finished run. The tables follow from it and from the test scores."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earmark.storage.journal import open_journal, read_journal
from experiments.table1.plan import Run


@dataclass(frozen=True)
class Line:
    """A finished run: its settings, cost and results. A figure that is not finite is None."""

    difficulty: str
    cell: str
    seed: int
    profile: str
    config: Mapping[str, Any]
    """All training settings."""
    config_sha256: str
    commit: str | None
    """Commit of earmark's source; None without version control."""
    earmark: str
    """Version of earmark."""
    machine: str
    """Kind of machine: GPU, or processor and number of cores."""
    precision: str
    """Precision of the training: float32 or bf16; `auto` chooses by the machine."""
    n_parameters: int
    n_clips_seen: int
    clips_per_second: float
    """Training rate, without validation."""
    seconds: float
    """Time of training and validation."""
    seconds_per_step: float
    """Training time per step, without validation."""
    n_beside: int
    """Number of parallel runs on the machine, this one included."""
    best_epoch: int
    valid_mAP: float | None
    """mAP of that epoch on the validation soundscapes."""
    n_test_clips: int
    test_ids_sha256: str
    mAP: float | None
    mAUC: float | None
    d_prime: float | None
    bank: str
    n_labels: int
    n_train_clips: int
    """Number of different training soundscapes."""
    command: str
    """Command that makes the table of the run."""

    @property
    def run(self) -> Run:
        return Run(self.difficulty, self.cell, self.seed)

    def to_json(self) -> dict[str, Any]:
        """The line as plain JSON values."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def config_sha256(config: Mapping[str, Any]) -> str:
    """SHA-256 of settings, in any order.

    >>> config_sha256({"a": 1, "b": 2}) == config_sha256({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_lines(path: Path) -> list[Line]:
    """The lines of a file, none if there is no file; the last one of each run.

    Raises:
        DataError: A line is damaged.
    """
    lines = {line.run: line for line in read_journal(path, lambda values: Line(**values))}
    return list(lines.values())


def done_runs(out: Path, lines: Iterable[Line]) -> set[Run]:
    """The runs that have both a line and test scores; the others must be measured again."""
    return {line.run for line in lines if line.run.scores(out).is_file()}


def append_line(path: Path, line: Line) -> None:
    """Adds a line to a file; it is on disk when this returns.

    Raises:
        DataError: Another process is adding a line.
        OSError: The file cannot be written.
    """
    with open_journal(path, is_synced=True) as journal:
        journal.append(line.to_json())
