"""The poolings, parts of GMAP and systems that are compared, and the settings that the search chooses among."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, get_args

from earmark.model.head_settings import PoolingName
from earmark.training.recipes import recipe
from earmark.training.settings import TrainConfig
from experiments.table1.profiles import ABLATIONS, POOLING_CELLS

REFERENCE: Final = "gmap"
TABLE1: Final[tuple[str, ...]] = POOLING_CELLS
"""The six poolings of the paper's Table 1."""
PARTS: Final = ABLATIONS
"""Cells of GMAP with one part changed; they take the settings that the search chose for GMAP."""
OTHERS: Final[tuple[str, ...]] = tuple(
    name for name in get_args(PoolingName) if name not in (*TABLE1, "multi_level_attention")
)
"""All other poolings; multi-level attention needs several layers and is compared as a system."""
SYSTEMS: Final[tuple[str, ...]] = ("gemmeke-2017", "kong-2018", "yu-2018", "kong-2019")
"""Recipes of whole systems, with the settings of their papers."""
PUBLISHED: Final[Mapping[str, tuple[float, float, float]]] = {
    "gemmeke-2017": (0.314, 0.959, 2.452),
    "kong-2018": (0.327, 0.965, 2.558),
    "yu-2018": (0.360, 0.970, 2.660),
    "kong-2019": (0.369, 0.969, 2.640),
}
"""Published mAP, mAUC and d' of the systems, trained on 2 million clips and measured on all evaluation clips."""
CELLS: Final[Mapping[str, Mapping[str, Any]]] = {
    **{name: {"pooling": name} for name in (*TABLE1, *OTHERS)},
    **{name: {"pooling": REFERENCE, **changes} for name, changes in PARTS.items()},
}
"""Settings of each cell; all others are the same for all cells, or chosen by the search."""
INSTANCE: Final = OTHERS[OTHERS.index("instance_max") :]
"""Cells whose pooling is at the instance level: segments are classified, then scores are pooled."""
EMBEDDING: Final = OTHERS[: -len(INSTANCE)]
"""Other cells whose pooling is at the embedding level, as in Table 1."""

BASE: Final = replace(
    recipe("audioset-features"),
    n_clips_seen=15 * 22_160,
    perceptron_layers=1,
    perceptron_norm=True,
    block_dropout=0.2,
    classifier_layers=2,
    batch_size=128,
    learning_rate=4e-3,
    dropout=0.3,
    mixup_alpha=0.0,
    precision="float32",
    device="cpu",
)
"""Settings of all runs; the search replaces some of them."""
COMMON_CELLS: Final = ("mean", "attention", "gmap")
"""Cells that choose the common settings together."""
COMMON: Final[Mapping[str, Mapping[str, Any]]] = {
    "plain": {"passes": 3},
    "mixup": {"passes": 3, "mixup_alpha": 1.0},
    "clips drawn equally often": {"passes": 3, "balanced": False},
    "perceptron dropout 0.4": {"passes": 3, "block_dropout": 0.4},
}
"""Candidates for the settings that are common to all cells, by name; `passes` are those over the training clips."""
TRIALS: Final[Mapping[str, Mapping[str, Any]]] = {
    f"rate {rate:g}, dropout {dropout:g}": {"learning_rate": rate, "dropout": dropout}
    for rate, dropout in ((2e-3, 0.3), (4e-3, 0.3), (8e-3, 0.3), (4e-3, 0.5), (4e-3, 0.1), (4e-3, 0.0))
}
"""Settings that are tried for each pooling, by name."""


def system(name: str) -> TrainConfig:
    """The settings of a system."""
    return replace(recipe(name), precision="float32", device="cpu")
