"""The plan of a table, `plan.json`: all that decides its runs. Every later call must agree with it."""

import json
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from earmark.audio.recording import probe
from earmark.data import open_data
from earmark.data.clips import Dataset, FileAudio, check_disjoint
from earmark.errors import AudioError, ConfigError, DataError, first_few
from earmark.storage.differences import differences
from earmark.storage.files import atomic_write
from earmark.storage.locks import LOCK
from earmark.training.settings import TrainConfig
from experiments.table1.profiles import ABLATED, ABLATIONS, CELLS, DIFFICULTIES, POOLING_CELLS, PROFILES, Profile

_FORMAT: Final = 1
_PROBED: Final = 8
TRAIN_SPLITS: Final = ("1", "2", "3")
TEST_SPLITS: Final = ("5",)
N_SEEDS: Final = 3


class Run(NamedTuple):
    """A run of the table: one training and its test scores."""

    difficulty: str
    cell: str
    seed: int

    def folder(self, out: Path) -> Path:
        """Folder of the training."""
        return out / "runs" / self.difficulty / self.cell / str(self.seed)

    def scores(self, out: Path) -> Path:
        """File of the test scores."""
        return out / "scores" / self.difficulty / f"{self.cell}-{self.seed}.npz"

    def __str__(self) -> str:
        return f"{self.difficulty} {self.cell} seed {self.seed}"


@dataclass(frozen=True)
class TablePlan:
    """All that decides the runs of a table."""

    profile: Profile
    bank: str
    """Source and folder name of the bank, without its path."""
    bank_fingerprint: str
    """Fingerprint of the selected sounds."""
    train_splits: tuple[str, ...]
    test_splits: tuple[str, ...]
    difficulties: tuple[str, ...]
    n_seeds: int

    def __post_init__(self) -> None:
        unknown = [name for name in self.difficulties if name not in DIFFICULTIES]
        if unknown or not self.difficulties:
            came = ", ".join(unknown) or "none"
            raise ConfigError(f"difficulties: some of {', '.join(DIFFICULTIES)} were expected, not {came}")
        object.__setattr__(self, "difficulties", tuple(name for name in DIFFICULTIES if name in self.difficulties))
        if self.n_seeds < 1:
            raise ConfigError(f"n_seeds: 1 or more was expected, not {self.n_seeds}")

    def config(self, run: Run) -> TrainConfig:
        """The training settings of a run."""
        return self.profile.config(run.cell, run.seed)

    def runs(self, cells: Iterable[str] | None = None, ablations: bool = True) -> tuple[Run, ...]:
        """The runs in their order: seed by seed, so that the whole table fills evenly.

        Args:
            cells: Only these cells; all of them when None.
            ablations: Whether all cells include the ablations.

        Raises:
            ConfigError: A cell is unknown, or no run remains.
        """
        wanted = set(cells) if cells is not None else {*POOLING_CELLS, *(ABLATIONS if ablations else ())}
        if unknown := sorted(wanted - set(CELLS)):
            raise ConfigError(f"no cell {', '.join(unknown)}; the cells are {', '.join(CELLS)}")
        columns: list[tuple[str, str]] = [
            (difficulty, cell) for difficulty in self.difficulties for cell in POOLING_CELLS
        ]
        columns += [(ABLATED, cell) for cell in ABLATIONS if ABLATED in self.difficulties]
        runs = tuple(Run(*column, seed) for seed in range(self.n_seeds) for column in columns if column[1] in wanted)
        if not runs:
            raise ConfigError(f"no run to do: the ablations are {ABLATED} only, which is not among the difficulties")
        return runs

    @property
    def command(self) -> str:
        """The command that makes this table, without paths."""
        kind = self.bank.partition(":")[0]
        usual = PROFILES.get(self.profile.name, self.profile)
        given: dict[str, Any] = {"--bank": f"{kind}:DIR", "--out": "OUT", "--profile": self.profile.name}
        if self.profile.labels != usual.labels:
            given["--labels"] = "all" if self.profile.labels is None else ",".join(self.profile.labels)
        for flag in ("n_train", "n_valid", "n_test"):
            if getattr(self.profile, flag) != getattr(usual, flag):
                given[f"--{flag.replace('_', '-')}"] = getattr(self.profile, flag)
        if self.profile.training.n_clips_seen != usual.training.n_clips_seen:
            given["--n-clips-seen"] = self.profile.training.n_clips_seen
        for flag, splits, default in (
            ("--train-splits", self.train_splits, TRAIN_SPLITS),
            ("--test-splits", self.test_splits, TEST_SPLITS),
        ):
            if splits != default:
                given[flag] = ",".join(splits)
        if self.difficulties != tuple(DIFFICULTIES):
            given["--difficulty"] = ",".join(self.difficulties)
        if self.n_seeds != N_SEEDS:
            given["--n-seeds"] = self.n_seeds
        return " ".join(
            ["python -m experiments table1", *(shlex.quote(str(word)) for pair in given.items() for word in pair)]
        )

    def to_json(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return {
            "format": _FORMAT,
            "bank": self.bank,
            "bank_fingerprint": self.bank_fingerprint,
            "train_splits": list(self.train_splits),
            "test_splits": list(self.test_splits),
            "difficulties": list(self.difficulties),
            "n_seeds": self.n_seeds,
            "profile": self.profile.to_json(),
        }

    def check(self, out: Path) -> None:
        """Checks that `out` can be the folder of this plan: new, empty, or with this plan or one of fewer runs.

        Raises:
            ConfigError: It holds another plan, or other files.
        """
        if (out / "plan.json").exists():
            self._check_same(out, read_plan(out))
        elif out.exists() and (not out.is_dir() or any(file.name != LOCK for file in out.iterdir())):
            raise ConfigError(f"{out}: a new folder or one with a plan.json was expected, this holds other files")

    def claim(self, out: Path) -> None:
        """Writes this plan to `out`.

        Raises:
            ConfigError: As for `check`.
        """
        self.check(out)
        with atomic_write(out / "plan.json") as temporary:
            text = json.dumps(self.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
            temporary.write_text(text + "\n", encoding="utf-8")

    def _check_same(self, out: Path, theirs: "TablePlan") -> None:
        if set(theirs.difficulties) - set(self.difficulties) or theirs.n_seeds > self.n_seeds:
            raise ConfigError(
                f"{out}: the table there has {theirs.n_seeds} seeds of {', '.join(theirs.difficulties)}; a call may "
                "ask for more of them, not for fewer: repeat them, or take another folder"
            )
        # the path of the bank and the number of seeds and difficulties do not change a run
        free = {"bank": "", "difficulties": (), "n_seeds": 0}
        then, now = (_flat({**plan.to_json(), **free}) for plan in (theirs, self))
        if differing := differences(then, now):
            raise ConfigError(
                f"{out}: holds another table, these differ: {', '.join(differing)}; put them back or "
                "take another folder"
            )


def make_plan(
    bank: str,
    profile: Profile,
    *,
    train_splits: Iterable[str] = TRAIN_SPLITS,
    test_splits: Iterable[str] = TEST_SPLITS,
    difficulties: Iterable[str] = tuple(DIFFICULTIES),
    n_seeds: int = N_SEEDS,
) -> tuple[TablePlan, Dataset]:
    """The plan of a table, and the sounds of its splits and labels.

    The bank, a source and a path, has clips of one sound each. A profile for 32 kHz becomes one for 16 kHz if the
    recordings have a lower rate: otherwise a quarter of the mel bins would cover a silent band.

    Raises:
        DataError: The bank cannot be opened, lacks splits or labels, or the splits share sources.
        ConfigError: An unknown difficulty, or no seed.
    """
    train_splits, test_splits = tuple(train_splits), tuple(test_splits)
    source, _, path = bank.partition(":")
    sounds = open_data(bank)
    if profile.labels is not None and (absent := [name for name in profile.labels if name not in sounds.labels]):
        raise DataError(
            f"{bank}: profile {profile.name} takes {len(profile.labels)} labels, {len(absent)} of which the bank "
            f"lacks: {first_few(absent)}; choose others (--labels all)"
        )
    sounds = sounds.select(splits=(*train_splits, *test_splits), labels=profile.labels)
    check_disjoint(sounds.select(splits=train_splits), sounds.select(splits=test_splits))
    if profile.training.sample_rate == 32000 and _highest_rate(sounds) < 32000:
        profile = replace(profile, training=replace(profile.training, sample_rate=16000))
    plan = TablePlan(
        profile=profile,
        bank=f"{source}:{Path(path).resolve().name}",
        bank_fingerprint=sounds.fingerprint(),
        train_splits=train_splits,
        test_splits=test_splits,
        difficulties=tuple(difficulties),
        n_seeds=n_seeds,
    )
    return plan, sounds


def read_plan(out: Path) -> TablePlan:
    """The plan of the table in a folder.

    Raises:
        ConfigError: The plan is missing or damaged.
    """
    path = out / "plan.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != _FORMAT:
            raise ConfigError(f"not a plan of format {_FORMAT}")
        values["profile"] = Profile.from_json(values["profile"])
        for name in ("train_splits", "test_splits", "difficulties"):
            values[name] = tuple(values[name])
        return TablePlan(**values)
    except FileNotFoundError:
        raise ConfigError(
            f"{out}: no table there (plan.json is missing); start one: python -m experiments table1"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: the plan of a table was expected, this is none ({error})") from error


def _highest_rate(bank: Dataset) -> int:
    """Highest sample rate of the first few recordings; 32000 Hz if none is a file."""
    rates = [32000]
    with suppress(AudioError):
        files = [clip.audio.path for clip in bank.clips[:_PROBED] if isinstance(clip.audio, FileAudio)]
        rates = [probe(path).sample_rate for path in files] or rates
    return max(rates)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{name}": entry for name, entry in _flat(value).items()}
        else:
            flat[key] = value
    return flat
