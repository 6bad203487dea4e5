"""The protocol, its runs in their order, and the settings of each run, which follow from the finished runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Final, Literal, NamedTuple

from earmark.errors import ConfigError
from earmark.training.settings import TrainConfig
from experiments.audioset_poolings.cells import (
    BASE,
    CELLS,
    COMMON,
    COMMON_CELLS,
    EMBEDDING,
    INSTANCE,
    PARTS,
    REFERENCE,
    SYSTEMS,
    TABLE1,
    TRIALS,
    system,
)

Stage = Literal["common", "search", "final"]
"""Choice of the common settings, choice of each pooling's own, measurement."""
Settings = Mapping[str, Any]
_SEEDS_AT_A_TIME: Final = 3


class Run(NamedTuple):
    """One training and its figures."""

    stage: Stage
    cell: str
    variant: str
    """Name of the settings that are tried; empty in the final stage, which uses the chosen ones."""
    seed: int

    def name(self) -> str:
        """A name for files."""
        return "-".join([self.stage, self.cell, *([_plain(self.variant)] if self.variant else []), str(self.seed)])

    def __str__(self) -> str:
        return f"{self.stage} {self.cell}{f' ({self.variant})' if self.variant else ''} seed {self.seed}"


class Finished(NamedTuple):
    """A run of the search and its mAP on the validation clips."""

    run: Run
    mAP: float | None


@dataclass(frozen=True)
class Protocol:
    """All that decides the runs, beside the clips."""

    base: TrainConfig = BASE
    common: Mapping[str, Settings] = field(default_factory=lambda: COMMON)
    common_cells: tuple[str, ...] = COMMON_CELLS
    trials: Mapping[str, Settings] = field(default_factory=lambda: TRIALS)
    systems: Mapping[str, TrainConfig] = field(default_factory=lambda: {name: system(name) for name in SYSTEMS})
    valid_share: float = 0.15
    """Share of the training clips that the search is measured on."""
    valid_seed: int = 0
    n_resamples: int = 200
    """Resamples of the test clips."""
    n_seeds_first: int = 10
    """Seeds of the poolings of Table 1 and of GMAP's parts."""
    n_seeds: int = 5
    """Seeds of the other poolings."""
    n_seeds_systems: int = 3

    def __post_init__(self) -> None:
        for name in ("n_seeds_first", "n_seeds", "n_seeds_systems"):
            if getattr(self, name) < 1:
                raise ConfigError(f"1 or more was expected, not {getattr(self, name)}", name)

    def to_json(self) -> dict[str, Any]:
        """Everything that a run depends on, as plain JSON values; the number of seeds is no part of it."""
        return {
            "base": self.base.to_json(),
            "common": {name: dict(settings) for name, settings in self.common.items()},
            "common_cells": list(self.common_cells),
            "trials": {name: dict(settings) for name, settings in self.trials.items()},
            "systems": {name: config.to_json() for name, config in self.systems.items()},
            "valid_share": self.valid_share,
            "valid_seed": self.valid_seed,
            "n_resamples": self.n_resamples,
        }

    def phases(self, cells: Iterable[str] | None = None) -> list[list[Run]]:
        """The runs in their order; the settings of a phase follow from those before it.

        The search of a pooling precedes its final runs. These come seed by seed, so that the table fills evenly, and
        the poolings of Table 1 and GMAP's parts come before the others, of which the cheap ones come first.

        Args:
            cells: Only the final runs of these cells, with the search that they need; all cells when missing.

        Raises:
            ConfigError: There is no such cell.
        """
        known = (*CELLS, *self.systems)
        wanted = set(known if cells is None else cells)
        if unknown := sorted(wanted - set(known)):
            raise ConfigError(f"no cell {', '.join(unknown)}; the cells are {', '.join(known)}")
        first, embedding, instance, systems = (
            [cell for cell in group if cell in wanted]
            for group in ((*TABLE1, *PARTS), EMBEDDING, INSTANCE, tuple(self.systems))
        )
        common = [Run("common", cell, name, 0) for name in self.common for cell in self.common_cells]
        phases = [common if first or embedding or instance else []]
        for start in range(0, max(self.n_seeds_first, self.n_seeds, self.n_seeds_systems), _SEEDS_AT_A_TIME):
            chunk = range(start, start + _SEEDS_AT_A_TIME)
            for cells, n_seeds in ((first, self.n_seeds_first), (embedding, self.n_seeds), (instance, self.n_seeds)):
                phases += [self._search(cells) if start == 0 else [], _seed_by_seed(cells, chunk, n_seeds)]
            phases.append(_seed_by_seed(systems, chunk, self.n_seeds_systems))
        return [phase for phase in phases if phase]

    def _search(self, cells: Sequence[str]) -> list[Run]:
        searched = dict.fromkeys(REFERENCE if cell in PARTS else cell for cell in cells)
        return [Run("search", cell, name, 0) for name in self.trials for cell in searched]

    def config(self, run: Run, finished: Sequence[Finished], n_clips: int) -> TrainConfig:
        """The training settings of a run.

        Args:
            run: The run.
            finished: The finished runs of the search.
            n_clips: Number of training clips, of which a pass over them has as many.

        Raises:
            ConfigError: The runs of the search that choose its settings are missing.
        """
        if run.cell in self.systems:
            return replace(self.systems[run.cell], seed=run.seed)
        settings = {**self._chosen(run, finished), **CELLS[run.cell], "seed": run.seed}
        n_seen = settings.pop("passes") * n_clips
        return replace(self.base, n_clips_seen=n_seen, clips_per_epoch=n_seen, **settings)

    def _chosen(self, run: Run, finished: Sequence[Finished]) -> dict[str, Any]:
        if run.stage == "common":
            return dict(self.common[run.variant])
        common = self.common[chosen(finished, "common", self.common_cells)]
        cell = REFERENCE if run.cell in PARTS else run.cell
        trial = run.variant if run.stage == "search" else chosen(finished, "search", (cell,))
        return {**common, **self.trials[trial]}


def chosen(finished: Sequence[Finished], stage: Stage, cells: Sequence[str]) -> str:
    """The name of the settings with the highest mAP on the validation clips, mean over the cells.

    Raises:
        ConfigError: No settings are finished for all cells.
    """
    mAP: dict[str, dict[str, float]] = {}
    for run, value in finished:
        if run.stage == stage and run.cell in cells:
            mAP.setdefault(run.variant, {})[run.cell] = -1.0 if value is None else value
    complete = {name: fmean(by_cell.values()) for name, by_cell in mAP.items() if len(by_cell) == len(set(cells))}
    if not complete:
        raise ConfigError(f"no run of the search has finished for {', '.join(cells)}; the same command starts it again")
    return max(complete, key=complete.__getitem__)


def _seed_by_seed(cells: Sequence[str], seeds: Iterable[int], n_seeds: int) -> list[Run]:
    return [Run("final", cell, "", seed) for seed in seeds if seed < n_seeds for cell in cells]


def _plain(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in ".-" else "_" for letter in text)


def figures_file(out: Path, cell: str, seed: int) -> Path:
    """File of the figures by label of a final run."""
    return out / "figures" / f"{cell}-{seed}.npz"
