"""The folder of a run: what was asked for, how it went, and where it can go on."""

import csv
import json
import math
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import torch

from earmark.data.clips import Dataset
from earmark.errors import CheckpointError, ConfigError, DataError
from earmark.files import atomic_write
from earmark.training.settings import TrainConfig

_FREE_TO_CHANGE: Final = ("n_workers", "device", "cache_gib")
"""Settings that a resumed run may have otherwise: they decide how fast, not what."""
_PACKAGES: Final = ("earmark", "torch", "lightning", "numpy", "soundfile", "soxr", "safetensors")


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


class RunFolder:
    """Names of the files of a run, and their reading and writing, each whole or not at all."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.record = self.path / "run.json"
        self.metrics = self.path / "metrics.csv"
        self.last = self.path / "last.safetensors"
        self.best = self.path / "best.safetensors"
        self.state = self.path / "resume.ckpt"

    def check_new(self) -> None:
        """Refuses a folder with a run in it.

        Raises:
            ConfigError: There is a run, or the path is no folder.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"{self.path}: a folder for the run was expected, this is a file")
        if found := [file.name for file in (self.record, self.state, self.last, self.best) if file.exists()]:
            raise ConfigError(
                f"{self.path}: there is a run already ({', '.join(found)}); resume it (--resume) or take another folder"
            )

    def read_record(self) -> dict[str, Any]:
        """The run's `run.json`.

        Raises:
            ConfigError: There is no run, or no readable one.
        """
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{self.path}: no run to resume there (no run.json); start it without --resume") from None
        except (OSError, ValueError) as error:
            raise ConfigError(f"{self.record}: not readable as JSON ({error})") from error
        if not isinstance(record, dict) or not isinstance(record.get("config"), dict):
            raise ConfigError(f"{self.record}: not the record of a training run (no config in it)")
        return record

    def check_same(self, record: Mapping[str, Any], config: TrainConfig, data: Mapping[str, Any]) -> None:
        """Refuses to go on with other settings or other clips than the run started with.

        Raises:
            ConfigError: Settings differ; names them.
            DataError: The data differ.
        """
        then, now = record["config"], config.to_json()
        differing = [
            f"{name} {then.get(name)!r} -> {now.get(name)!r}"
            for name in sorted(set(then) | set(now))
            if name not in _FREE_TO_CHANGE and then.get(name) != now.get(name)
        ]
        if differing:
            raise ConfigError(
                f"{self.path}: a run goes on with the settings it started with, these differ: {', '.join(differing)}; "
                "put them back or start another run"
            )
        for part, facts in data.items():
            before = (record.get("data") or {}).get(part)
            if (before or {}).get("fingerprint") != (facts or {}).get("fingerprint"):
                raise DataError(
                    f"{self.path}: a run goes on with the clips it started with, the {part} clips differ "
                    f"({_brief(before)} -> {_brief(facts)}); put them back or start another run"
                )

    def write_record(self, record: Mapping[str, Any]) -> None:
        with atomic_write(self.record) as temporary:
            text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    def write_metrics(self, history: Sequence[Epoch]) -> None:
        with atomic_write(self.metrics) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [entry.name for entry in fields(Epoch)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in history)

    def write_state(self, state: dict[str, Any]) -> None:
        with atomic_write(self.state) as temporary:
            torch.save(state, temporary)

    def read_state(self) -> dict[str, Any] | None:
        """Where the run stopped, on the CPU; None before its first checkpoint.

        Raises:
            CheckpointError: The file is damaged.
        """
        if not self.state.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.state, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises whatever its unpickler and zip reader raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(f"{self.state}: not readable ({reason}); start another run") from error
        return state


def _brief(facts: Mapping[str, Any] | None) -> str:
    return f"{facts['n_clips']} clips of {facts['name']}" if facts else "none"


def data_facts(data: Dataset | None) -> dict[str, Any] | None:
    """What `run.json` says about a data set."""
    if data is None:
        return None
    return {
        "name": data.name,
        "n_clips": len(data),
        "n_labels": len(data.labels),
        "fingerprint": data.fingerprint(),
        "clip_ids_sha256": data.clip_ids_sha256(),
    }


def versions() -> dict[str, str]:
    """Versions of what takes part in a run."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Commit of earmark's own source, `-dirty` if edited since; None where it is not under version control."""
    here = Path(__file__).resolve()
    try:
        tracked = ["git", "-C", str(here.parent), "ls-files", "--error-unmatch", here.name]
        if subprocess.run(tracked, capture_output=True, timeout=10, check=False).returncode:
            return None
        describe = ["git", "-C", str(here.parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        answer = subprocess.run(describe, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def finite(value: int | float | None) -> int | float | None:
    """The value as JSON can say it: null for what is no finite number."""
    return value if value is not None and math.isfinite(value) else None
