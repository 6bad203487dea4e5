"""The folder of a run: what was asked for, how it went, and where it can go on."""

import csv
import json
import math
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import torch

from earmark.errors import CheckpointError, ConfigError, DataError
from earmark.storage.files import atomic_write, leftovers
from earmark.storage.locks import hold
from earmark.training.settings import TrainConfig

_FREE_TO_CHANGE: Final = ("n_workers", "device", "devices", "num_nodes", "cache_gib", "compiled")
"""Settings that a resumed run may have otherwise: they decide how fast, and at most the numbers' last digits, but for
dropout and batch norm on another number of devices."""


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
    """Mean over the epoch, of augmented clips and of the weights themselves."""
    valid_mAP: float | None
    """Of the averaged weights, as the two below."""
    valid_mAUC: float | None
    valid_d_prime: float | None
    """Of the mean AUC."""
    clips_per_second: float
    """Of training alone, its data included."""
    data_share: float
    """Share of that time in which the step waited for its data."""


def best_epoch(history: Sequence[Epoch]) -> Epoch:
    """The epoch with the highest validation mAP, of equals the latest; without validation the last one."""
    validated = [row for row in history if row.valid_mAP is not None]
    # the later of two equals has seen more clips, and `max` takes the first that it meets
    return max(reversed(validated), key=lambda row: row.valid_mAP or 0.0) if validated else history[-1]


class RunFolder:
    """Names of the files of a run, and their reading and writing, each whole or not at all."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.record = self.path / "run.json"
        self.metrics = self.path / "metrics.csv"
        self.last = self.path / "last.safetensors"
        self.best = self.path / "best.safetensors"
        self.state = self.path / "resume.ckpt"
        self.lock = self.path / ".lock"
        """That it is there says nothing; who trains holds a lock of it."""
        self.run_id: str | None = None
        """Of the run in the folder, once it was claimed or its record read; its states carry it too."""

    def check_new(self) -> None:
        """Refuses a folder with a run in it, with what one left there, or with other files.

        Raises:
            ConfigError: There is a run, a file of one or any other that is not hidden, or the path is no folder.
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
        others = sorted(file.name for file in self.path.glob("[!.]*"))
        if others:
            shown = ", ".join(others[:3]) + (", ..." if len(others) > 3 else "")
            raise ConfigError(f"{self.path}: holds other files ({shown}); give a new or empty folder for the run")

    def claim(self, record: dict[str, Any]) -> None:
        """Takes the folder for a new run: writes its record, with an id of the run added, unless there is one.

        Raises:
            ConfigError: Another run was faster.
        """
        self.run_id = record["run_id"] = secrets.token_hex(8)
        self.path.mkdir(parents=True, exist_ok=True)
        temporary = self.path / f".run-{self.run_id}.json"
        try:
            temporary.write_text(_as_text(record), encoding="utf-8")
            os.link(temporary, self.record)  # whole, and only if there is none: renaming would replace another's
        except FileExistsError:
            raise self._taken() from None
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other processes from going on with the run meanwhile, where there are file locks.

        What a killed process was writing is removed.

        Raises:
            ConfigError: Another process is at work there.
        """
        if sys.platform == "win32" or not os.access(self.path, os.W_OK):
            yield
            return
        with self.lock.open("w") as file:
            try:
                is_ours = hold(file, by_process=True)  # not its readers, which a kill may leave behind for a while
            except OSError:  # some file systems have no locks
                yield
                return
            if not is_ours:
                raise ConfigError(f"{self.path}: another process is at work there; wait for it, or stop it")
            for path in leftovers(self.path):
                path.unlink(missing_ok=True)
            yield

    def withdraw(self) -> None:
        """Undoes `claim`, for a run that left nothing else."""
        self.record.unlink(missing_ok=True)
        self.lock.unlink(missing_ok=True)
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
        self.run_id = record.get("run_id")
        return record

    def check_same(self, record: Mapping[str, Any], config: TrainConfig, data: Mapping[str, Any]) -> None:
        """Refuses to go on with other settings or other clips than the run started with.

        Raises:
            ConfigError: Settings differ; names them.
            DataError: The data differ.
        """
        # a setting that an earlier version did not have was at its default
        then, now = steady({**TrainConfig().to_json(), **record["config"]}), steady(config.to_json())
        differing = [
            f"{name} {then.get(name)!r} -> {now.get(name)!r}"
            for name in sorted(set(then) | set(now))
            if then.get(name) != now.get(name)
        ]
        if differing:
            raise ConfigError(
                f"{self.path}: the settings that the run started with were expected, these differ: "
                f"{', '.join(differing)}; put them back or start another run"
            )
        for part, facts in data.items():
            before = (record.get("data") or {}).get(part)
            if (before or {}).get("fingerprint") != (facts or {}).get("fingerprint"):
                raise DataError(
                    f"{self.path}: a run goes on with the clips it started with, the {part} clips differ "
                    f"({_brief(before)} -> {_brief(facts)}); put them back or start another run"
                )
            # records of before this check lack the entry
            if facts and facts["exact_sha256"] != (before or {}).get("exact_sha256", facts["exact_sha256"]):
                raise DataError(
                    f"{self.path}: a run goes on with the {part} clips as they were when it started; their order, "
                    "their audio (file, onset, duration) or the order of the labels differs: put them back or start "
                    "another run"
                )

    def check_same_skipped(self, record: Mapping[str, Any], skipped: Sequence[tuple[str, str]]) -> None:
        """Refuses to go on when other clips cannot be read than when the run started.

        Raises:
            DataError: The clips left out differ; names them.
        """
        then = {entry["id"] for entry in record.get("skipped", ())}
        now = {clip for clip, _ in skipped}
        if differing := sorted(then ^ now):
            shown = ", ".join(f"{clip} ({'now' if clip in now else 'then'})" for clip in differing[:3])
            raise DataError(
                f"{self.path}: a run goes on with the clips it started with, {len(differing)} cannot be read now or "
                f"could not then: {shown}{', ...' if len(differing) > 3 else ''}; put them back or start another run"
            )

    def write_record(self, record: Mapping[str, Any]) -> None:
        with atomic_write(self.record) as temporary:
            temporary.write_text(_as_text(record), encoding="utf-8")

    def write_metrics(self, history: Sequence[Epoch]) -> None:
        with atomic_write(self.metrics) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [entry.name for entry in fields(Epoch)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in history)

    def _n_epochs(self) -> int:
        return len(self.metrics.read_text(encoding="utf-8").splitlines()) - 1 if self.metrics.exists() else 0

    def write_state(self, state: dict[str, Any]) -> None:
        # by way of memory: torch tells of a full disk in an error of its own
        content = BytesIO()
        torch.save({**state, "run_id": self.run_id}, content)
        with atomic_write(self.state) as temporary:
            temporary.write_bytes(content.getbuffer())

    def read_state(self) -> dict[str, Any] | None:
        """Where the run whose record was read stopped, on the CPU; None before its first checkpoint.

        Raises:
            CheckpointError: The file is damaged, another run's, or gone.
        """
        if not self.state.exists():
            if self._n_epochs() > 1:  # the first may have been written down without a state
                raise CheckpointError(
                    f"{self.state}: gone, though {self.metrics.name} has {self._n_epochs()} epochs of the run; put it "
                    "back, or start another run"
                )
            return None
        try:
            state: dict[str, Any] = torch.load(self.state, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever its unpickler and zip reader raise
            raise CheckpointError(f"{self.state}: damaged or cut off, not readable; start another run") from error
        run_id = state.get("run_id") if isinstance(state, dict) else "unknown"
        if run_id != self.run_id:
            raise CheckpointError(
                f"{self.state}: of another run ({run_id}) than run.json beside it ({self.run_id}); put this run's own "
                "resume.ckpt there, or start another run"
            )
        return state


def steady(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that may not change within a run."""
    return {name: value for name, value in settings.items() if name not in _FREE_TO_CHANGE}


def _as_text(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _brief(facts: Mapping[str, Any] | None) -> str:
    return f"{facts['n_clips']} clips of {facts['name']}" if facts else "none"


def finite(value: int | float | None) -> int | float | None:
    """The value as JSON can say it: null for what is no finite number."""
    return value if value is not None and math.isfinite(value) else None
