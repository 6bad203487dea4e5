"""The folder of a run: its settings, its history, its checkpoints and the state to resume from."""

import csv
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import torch

from earmark.errors import CheckpointError, ConfigError, DataError, counted, first_few
from earmark.storage.differences import differences
from earmark.storage.files import atomic_write, leftovers, utf8_name
from earmark.storage.json_files import json_value, write_json
from earmark.storage.locks import LOCK, alone
from earmark.training.settings import TrainConfig

_FREE_TO_CHANGE: Final = ("n_workers", "device", "devices", "num_nodes", "cache_gib", "compiled")
"""Settings that may differ in a resumed run. They change its speed and the last digits of its numbers; another number
of devices also changes dropout and batch norm."""


@dataclass(frozen=True)
class Epoch:
    """One row of `metrics.csv`; validation figures are None without validation clips."""

    epoch: int
    """Counted from 1."""
    step: int
    """Steps done since the start of the run."""
    clips_seen: int
    """Clips shown since the start of the run."""
    seconds: float
    """Time spent since the start of the run, validation and checkpoints included."""
    train_loss: float
    """Mean over the epoch, for augmented clips and without weight averaging."""
    valid_mAP: float | None
    """Score of the averaged weights, like the two below."""
    valid_mAUC: float | None
    valid_d_prime: float | None
    """The d' of the mean AUC."""
    clips_per_second: float
    """Speed of training and reading, without validation."""
    data_share: float
    """Share of that time in which the steps waited for their data."""

    def to_json(self) -> dict[str, Any]:
        """The row by column; None for nan and infinities, which JSON lacks."""
        return dict(json_value(asdict(self)))


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch with the highest validation mAP, the latest of equals; without validation the last one."""
    validated = [row for row in history if row.valid_mAP is not None]
    # the later of two equals has seen more clips, and `max` takes the first
    return max(reversed(validated), key=lambda row: row.valid_mAP or 0.0) if validated else history[-1]


class RunFolder:
    """Names of the files of a run; reads and writes them, each whole or not at all.

    Args:
        path: The folder.
        is_writer: Whether this process writes `run.json`.
    """

    def __init__(self, path: Path | str, is_writer: bool = True) -> None:
        self.path, self.is_writer = Path(path), is_writer
        self.record = self.path / "run.json"
        self.metrics = self.path / "metrics.csv"
        self.last = self.path / "last.safetensors"
        self.best = self.path / "best.safetensors"
        self.state = self.path / "resume.ckpt"
        self.segments = self.path / "segments"
        """Clips that the run has encoded."""
        self.teacher = self.path / "teacher"
        """Scores that a teacher has given the clips."""
        self.facts: dict[str, Any] = {}
        """Content of `run.json`, once the folder was claimed or the file read; its `run_id` is in each state too."""

    def check_new(self) -> None:
        """Checks that the folder is missing or empty, but for clips that a failed run has encoded or scored.

        Raises:
            ConfigError: It holds a run, parts of one or other files that are not hidden; or the path is no folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path}: a folder for the run was expected, this is a file")
        if self.record.exists():
            raise self._taken()
        if found := [file.name for file in (self.state, self.last, self.best, self.metrics) if file.exists()]:
            raise ConfigError(
                f"{self.path}: there are files of a run ({', '.join(found)}) without its run.json, which resuming "
                "needs; remove them or take another folder"
            )
        # a hidden file is the system's own, such as .DS_Store
        others = sorted(file.name for file in self.path.glob("[!.]*") if file not in (self.segments, self.teacher))
        if others:
            raise ConfigError(
                f"{self.path}: holds other files ({first_few(others)}); give a new or empty folder for the run"
            )

    def claim(self, record: dict[str, Any]) -> None:
        """Takes the folder for a new run: adds an id to the record and writes it, unless there is a record.

        Raises:
            ConfigError: Another run was faster.
        """
        self.facts = {**record, "run_id": secrets.token_hex(8)}
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = self.path / f".run-{self.facts['run_id']}.json"
        try:
            write_json(temporary, self.facts)
            os.link(temporary, self.record)  # whole, and only if there is none: renaming would replace another's
        except FileExistsError:
            raise self._taken() from None
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes from training here meanwhile, and removes the unfinished files of a killed process.

        Raises:
            DataError: Another process is at work there.
        """
        # not locked by the readers of this process, which a kill may leave behind for a while
        with alone(self.path, per_process=True):
            for path in leftovers(self.path):
                path.unlink(missing_ok=True)
            yield

    def withdraw(self) -> None:
        """Undoes `claim`, for a run that wrote nothing else."""
        if not self.is_writer:
            return
        self.record.unlink(missing_ok=True)
        (self.path / LOCK).unlink(missing_ok=True)
        with suppress(OSError):  # other files are in the folder
            self.path.rmdir()

    def _taken(self) -> ConfigError:
        return ConfigError(
            f"{self.path}: a new folder was expected, this holds a run (run.json); take another folder or resume it",
            remedy={"resume": True},
        )

    def read_record(self) -> dict[str, Any]:
        """The run's `run.json`.

        Raises:
            ConfigError: There is no run, or no readable one.
        """
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{self.path}: no run to resume there (no run.json); start a new one") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.record}: not readable as JSON ({error})") from error
        if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
            raise ConfigError(f"{self.record}: not the record of a training run (no config in it)")
        self.facts = record
        return record

    def check_same(
        self, config: TrainConfig, data: Mapping[str, Any], teacher: Mapping[str, Any] | None = None
    ) -> None:
        """Checks that settings, clips and teacher are those that the run started with.

        Raises:
            ConfigError: Settings differ; the error names them.
            DataError: The clips differ.
        """
        # a setting that an earlier version did not have was at its default
        before = fixed_settings({**TrainConfig().to_json(), **self.facts["config"]})
        taught, teaching = ({"teacher": facts} if facts else {} for facts in (self.facts.get("teacher"), teacher))
        if differing := differences(before | taught, fixed_settings(config.to_json()) | teaching):
            raise ConfigError(
                f"{self.path}: a run continues with the settings it started with, these differ: "
                f"{', '.join(differing)}; put them back or start another run"
            )
        for part, facts in data.items():
            then = (self.facts.get("data") or {}).get(part)
            if (then or {}).get("fingerprint") != (facts or {}).get("fingerprint"):
                raise DataError(
                    f"{self.path}: a run continues with the clips it started with, the {part} clips differ "
                    f"({_brief(then)} -> {_brief(facts)}); put them back or start another run"
                )
            if facts and then and facts["exact_sha256"] != then["exact_sha256"]:
                raise DataError(
                    f"{self.path}: a run continues with the {part} clips as they were when it started; their order, "
                    "their audio (file, onset, duration) or the order of the labels differs: put them back or start "
                    "another run"
                )

    def check_same_skipped(self, skipped: Sequence[tuple[str, str]]) -> None:
        """Checks that the unreadable clips are those of the start of the run.

        Raises:
            DataError: They differ; the error names them.
        """
        then = {entry["id"] for entry in self.facts.get("skipped", ())}
        now = {clip for clip, _ in skipped}
        if differing := sorted(then ^ now):
            shown = first_few([f"{clip} ({'now' if clip in now else 'then'})" for clip in differing])
            raise DataError(
                f"{self.path}: a run continues with the clips it started with, {len(differing)} cannot be read now or "
                f"could not then: {shown}; put them back or start another run"
            )

    def note(self, status: str, **entries: Any) -> None:
        """Writes the state of the run to `run.json`, with other entries."""
        self.facts.pop("error", None)
        self.facts |= {"status": status, **entries}
        if self.is_writer:
            write_json(self.record, self.facts)

    def write_metrics(self, history: Sequence[Epoch]) -> None:
        with atomic_write(self.metrics) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [entry.name for entry in fields(Epoch)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in history)

    @contextmanager
    def event_writer(self) -> Iterator[Any]:
        """Opens the writer of TensorBoard's events for the block."""
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        events = self.path / "tensorboard"
        events.mkdir(exist_ok=True)
        with utf8_name(events) as name, SummaryWriter(name) as writer:
            yield writer

    def write_state(self, state: dict[str, Any]) -> None:
        # through memory: torch reports a full disk in an error of its own
        content = BytesIO()
        torch.save({**state, "run_id": self.facts.get("run_id")}, content)
        with atomic_write(self.state) as temporary:
            temporary.write_bytes(content.getbuffer())

    def read_state(self) -> dict[str, Any] | None:
        """The state to resume the run from, on the CPU; None before its first checkpoint.

        Raises:
            CheckpointError: The file is damaged, another run's, or gone.
        """
        if not self.state.exists():
            n_lines = len(self.metrics.read_text(encoding="utf-8").splitlines()) if self.metrics.exists() else 0
            if n_lines > 2:  # a kill may leave the header and the first row without a state
                raise CheckpointError(
                    f"{self.state}: gone, though {self.metrics.name} has {n_lines - 1} epochs of the run; put it "
                    "back, or start another run"
                )
            return None
        try:
            state: dict[str, Any] = torch.load(self.state, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever its unpickler and zip reader raise
            raise CheckpointError(f"{self.state}: damaged or cut off, not readable; start another run") from error
        run_id = state.get("run_id") if isinstance(state, dict) else "unknown"
        if run_id != self.facts.get("run_id"):
            raise CheckpointError(
                f"{self.state}: of another run ({run_id}) than run.json beside it ({self.facts.get('run_id')}); put "
                "this run's own resume.ckpt there, or start another run"
            )
        return state


def fixed_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that may not change within a run."""
    return {name: value for name, value in settings.items() if name not in _FREE_TO_CHANGE}


def _brief(facts: Mapping[str, Any] | None) -> str:
    return f"{counted(facts['n_clips'], 'clip')} of {facts['name']}" if facts else "none"


def figures(history: Sequence[Epoch]) -> dict[str, Any]:
    """The last and the best epoch, for `run.json`."""
    return {"last": history[-1].to_json(), "best": best_epoch(history).to_json()}
