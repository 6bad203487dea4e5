"""What is compared, and on how much work: the cells, the difficulties, and profiles of data, network and budget."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, get_args

from earmark.errors import ConfigError
from earmark.labels import ESC10
from earmark.training.settings import PoolingName, TrainConfig

ProfileName = Literal["small", "full"]

DIFFICULTIES: Final[Mapping[str, tuple[float, float]]] = {"sparse": (0.3, 1.0), "dense": (1.0, 4.0)}
"""Shortest and longest event (s) of each difficulty: the paper's argument is about short events in long clips."""

POOLING_CELLS: Final[tuple[str, ...]] = get_args(PoolingName)
"""The cells of Table 1, in its order."""

ABLATIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    **{f"gmap-heads-{n_heads}": {"n_heads": n_heads} for n_heads in (1, 2, 8, 16)},
    "gmap-no-gate": {"gate": False},
    "gmap-no-deviation": {"deviation": False},
}
"""What each ablation changes of GMAP, whose 4 heads are the cell `gmap`."""

ABLATED: Final = "sparse"
"""The one difficulty that the ablations are trained on."""

CELLS: Final[Mapping[str, Mapping[str, Any]]] = {**{name: {"pooling": name} for name in POOLING_CELLS}, **ABLATIONS}
"""The settings that make a run one of its cell; all others are the profile's."""


@dataclass(frozen=True)
class Profile:
    """How much work a table is: data, network and budget of each of its runs."""

    name: str
    labels: tuple[str, ...] | None
    """Labels of the bank that take part; None is all."""
    n_train: int
    """Soundscapes to learn from, of each difficulty."""
    n_valid: int
    """Soundscapes that choose among the epochs of a run."""
    n_test: int
    """Soundscapes that the figures are measured on."""
    training: TrainConfig
    """The run of the cell `gmap` and seed 0."""
    duration: float = 10.0
    """Seconds of a soundscape."""

    def __post_init__(self) -> None:
        for name in ("n_train", "n_valid", "n_test"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: 1 or more was expected, not {getattr(self, name)}")

    def config(self, cell: str, seed: int) -> TrainConfig:
        """The settings of a cell's run.

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
            ConfigError: The training has an unknown setting, or a value outside what it can be.
            TypeError, KeyError: Keys are missing or unknown.
        """
        labels, training = values["labels"], TrainConfig.from_json(values["training"])
        return cls(**{**values, "labels": None if labels is None else tuple(labels), "training": training})


# the log-mels come from a file that all runs share: whether they would fit into memory is not the question then
_SHARED: Final = TrainConfig(cache="log_mel")

PROFILES: Final[Mapping[str, Profile]] = {
    # what two processor cores finish: a sixteenth of the paper's arithmetic a clip, and a budget without need of
    # augmentation
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
