"""`search.jsonl` and `runs.jsonl`: one line for each finished run. The pages follow from them and from `figures/`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earmark.storage.journal import open_journal, read_journal
from earmark.storage.json_files import json_value
from experiments.audioset_poolings.plan import Finished, Run


@dataclass(frozen=True)
class Line:
    """A finished run: its settings, cost and results. A figure that is not finite is None."""

    stage: str
    cell: str
    variant: str
    seed: int
    settings: Mapping[str, Any]
    """Training settings that are not the defaults of earmark."""
    config_sha256: str
    """Hash of all settings."""
    commit: str | None
    """Commit of earmark's source; None without version control."""
    earmark: str
    """Version of earmark."""
    machine: str
    """Kind of machine."""
    n_beside: int
    """Number of parallel runs on the machine, this one included."""
    n_parameters: int
    n_clips_seen: int
    n_steps: int
    seconds: float
    """Time of the training."""
    cpu_seconds: float | None
    """Processor time of the training; None if it was interrupted."""
    n_clips: int
    """Number of clips that the figures were measured on: the test clips, in the search the validation clips."""
    ids_sha256: str
    """Hash of their ids."""
    mAP: float | None
    mAUC: float | None
    d_prime: float | None
    localisation: Mapping[str, float | None] | None = None
    """As `strong.localise` returns it; None in the search, or without strong labels."""

    @property
    def run(self) -> Run:
        return Run(self.stage, self.cell, self.variant, self.seed)  # type: ignore[arg-type]

    @property
    def finished(self) -> Finished:
        return Finished(self.run, self.mAP)

    def to_json(self) -> dict[str, Any]:
        """The line as plain JSON values."""
        return dict(json_value(asdict(self)))


def journal_of(out: Path, run: Run) -> Path:
    """The file that receives the run's line."""
    return out / ("runs.jsonl" if run.stage == "final" else "search.jsonl")


def read_lines(path: Path) -> list[Line]:
    """The lines of a file, none if there is no file; the last one of each run.

    Raises:
        DataError: A line is damaged.
    """
    lines = {line.run: line for line in read_journal(path, lambda values: Line(**values))}
    return list(lines.values())


def append_line(out: Path, line: Line) -> None:
    """Adds a line to its file; it is on disk when this returns.

    Raises:
        DataError: Another process is adding a line.
        OSError: The file cannot be written.
    """
    with open_journal(journal_of(out, line.run), is_synced=True) as journal:
        journal.append(line.to_json())
