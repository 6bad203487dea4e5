"""The cells and difficulties of Table 1, and profiles: data, network and budget of the runs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from earmark.errors import ConfigError
from earmark.labels import ESC10
from earmark.training.settings import TrainConfig

ProfileName = Literal["small", "full"]

DIFFICULTIES: Final[Mapping[str, tuple[float, float]]] = {"sparse": (0.3, 1.0), "dense": (1.0, 4.0)}
"""Shortest and longest event (s) of each difficulty: the paper's argument is about short events in long clips."""

POOLING_CELLS: Final[tuple[str, ...]] = ("max", "mean", "max_mean", "attention", "attentive_stats", "gmap")
"""The cells of Table 1, in its order."""

ABLATIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    **{f"gmap-heads-{n_heads}": {"n_heads": n_heads} for n_heads in (1, 2, 8, 16)},
    "gmap-no-gate": {"gate": False},
    "gmap-no-deviation": {"deviation": False},
}
"""Settings that each ablation changes; the cell `gmap` has 4 heads."""

ABLATED: Final = "sparse"
"""The only difficulty with ablations."""

CELLS: Final[Mapping[str, Mapping[str, Any]]] = {**{name: {"pooling": name} for name in POOLING_CELLS}, **ABLATIONS}
"""Settings of each cell; all others are the profile's."""


@dataclass(frozen=True)
class Profile:
    """Data, network and budget of each run of a table."""

    name: str
    labels: tuple[str, ...] | None
    """Labels of the bank; None for all."""
    n_train: int
    """Number of training soundscapes of each difficulty."""
    n_valid: int
    """Number of validation soundscapes, which choose the epoch of a run."""
    n_test: int
    """Number of test soundscapes."""
    training: TrainConfig
    """Settings of the cell `gmap` with seed 0."""
    duration: float = 10.0
    """Seconds per soundscape."""

    def __post_init__(self) -> None:
        for name in ("n_train", "n_valid", "n_test"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: 1 or more was expected, not {getattr(self, name)}")

    def config(self, cell: str, seed: int) -> TrainConfig:
        """The training settings of a run.

        >>> PROFILES["small"].config("gmap-heads-8", seed=2).n_heads
        8
        """
        return replace(self.training, seed=seed, **CELLS[cell])

    def to_json(self) -> dict[str, Any]:
        """The profile as plain JSON values."""
        return {**asdict(self), "labels": None if self.labels is None else list(self.labels)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Profile":
        """The profile that `to_json` wrote.

        Raises:
            ConfigError: The training has an unknown setting, or an invalid value.
            TypeError, KeyError: Keys are missing or unknown.
        """
        labels, training = values["labels"], TrainConfig.from_json(values["training"])
        return cls(**{**values, "labels": None if labels is None else tuple(labels), "training": training})


# all runs share one file of log-mels, so whether they fit into memory does not matter
_SHARED: Final = TrainConfig(cache="log_mel")

PROFILES: Final[Mapping[str, Profile]] = {
    # feasible on two processor cores: a sixteenth of the paper's arithmetic per clip, and a budget too short to overfit
    "small": Profile(
        name="small",
        labels=ESC10,
        n_train=12_000,
        n_valid=400,
        n_test=1000,
        training=replace(
            _SHARED,
            width=16,
            sample_rate=16000,
            n_clips_seen=16_000,
            clips_per_epoch=2000,
            batch_size=16,
            learning_rate=2e-3,
            mixup_alpha=0.0,
            spec_augment=False,
            block_dropout=0.0,
            dropout=0.2,
        ),
    ),
    # the paper's network and training
    "full": Profile(
        name="full",
        labels=None,
        n_train=40_000,
        n_valid=1000,
        n_test=2000,
        training=replace(_SHARED, n_clips_seen=480_000),
    ),
}
"""The profiles by name."""
