"""`runs.jsonl`: one line for each finished run. The tables follow from it and from the test scores."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from earmark.errors import DataError
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

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Line":
        """The line that `to_json` wrote.

        Raises:
            DataError: Entries are missing, or there are others.
        """
        names = {entry.name for entry in fields(cls)}
        if differing := names ^ set(values):
            raise DataError(f"the entries {', '.join(sorted(names))} were expected, not {', '.join(sorted(differing))}")
        return cls(**values)


def config_sha256(config: Mapping[str, Any]) -> str:
    """SHA-256 of settings, in any order.

    >>> config_sha256({"a": 1, "b": 2}) == config_sha256({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(config, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_lines(path: Path) -> list[Line]:
    """The lines of a file, none where there is no file; of a run that is there twice the later one.

    A last line without its end was being written when the power went: it counts as not there.

    Raises:
        DataError: A line is damaged.
    """
    if not path.exists():
        return []
    whole = path.read_bytes().rpartition(b"\n")[0]
    lines: dict[Run, Line] = {}
    for number, text in enumerate(whole.splitlines(), 1):
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise DataError("an object was expected")
            line = Line.from_json(values)
        except (ValueError, DataError) as error:
            raise DataError(
                f"{path}, line {number}: not the line of a run ({error}); remove it or put it back"
            ) from error
        lines[line.run] = line
    return list(lines.values())


def done_runs(out: Path, lines: Iterable[Line]) -> set[Run]:
    """The runs whose line and test scores are both there; of the others the scores must be measured again."""
    return {line.run for line in lines if line.run.scores(out).is_file()}


def append_line(path: Path, line: Line) -> None:
    """Adds a line that is on the disk when this returns; half a line at the end of the file makes room for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        whole = path.read_bytes().rpartition(b"\n")
        file.truncate(len(whole[0]) + len(whole[1]))
        file.write(json.dumps(line.to_json(), ensure_ascii=False, allow_nan=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
