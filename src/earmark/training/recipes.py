"""Named settings of whole trainings, with their purpose and cost."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Final

from earmark.errors import ConfigError
from earmark.training.settings import TrainConfig


@dataclass(frozen=True)
class Recipe:
    """A named way to train."""

    description: str
    """Purpose, in one line."""
    cost: str
    """Cost, in one line."""
    config: TrainConfig


# a recipe states every setting it depends on: it must not change when a default does
_PAPER: Final = TrainConfig(
    pooling="gmap",
    backbone="cnn",
    width=64,
    n_heads=4,
    sample_rate=32000,
    n_mels=64,
    hop_ms=25.0,
    # the paper gives no budget; PANNs, its reference [23], stop after 600,000 steps of 32
    n_clips_seen=600_000 * 32,
    batch_size=32,
    learning_rate=1e-3,
    # the paper mentions no schedule and no averaged weights, and PANNs have neither
    schedule="constant",
    warmup=0.0,
    ema_decay=0.0,
    weight_decay=0.0,
    gradient_clip=0.0,
    mixup_alpha=1.0,
    spec_augment=True,
    n_time_stripes=2,
    time_width=26,
    n_mel_stripes=2,
    mel_width=8,
    balanced=True,
    block_dropout=0.2,
    dropout=0.5,
    clip_duration=10.0,
    # of two million files some are damaged in every copy; one of them must not end a run of days
    skip_bad=True,
)

_ON_FEW_CORES: Final = replace(
    _PAPER,
    sample_rate=16000,
    learning_rate=2e-3,
    schedule="cosine",
    warmup=0.05,
    ema_decay=0.999,
    mixup_alpha=0.0,
    block_dropout=0.0,
    skip_bad=False,
)

_RELEASED: Final = replace(
    _PAPER,
    perceptron_layers=3,
    perceptron_width=512,
    n_clips_seen=15 * 22_160,
    clips_per_epoch=22_160,
    batch_size=128,
    learning_rate=1e-3,
    schedule="cosine",
    warmup=0.05,
    ema_decay=0.999,
    spec_augment=False,
    skip_bad=False,
)

_SYSTEM: Final = replace(
    _RELEASED,
    n_clips_seen=4 * 22_160,
    # the papers have batches of 500 out of two million clips; out of 22,160 these would be too few steps
    batch_size=100,
    schedule="constant",
    warmup=0.0,
    # the papers average the scores of the last checkpoints
    ema_decay=0.999,
    mixup_alpha=0.0,
    classifier_layers=1,
    dropout=0.0,
)
"""Settings that the systems of 2017 to 2019 on the released features share."""
_SYSTEM_COST: Final = "88,640 clips, 4 passes over the balanced set: 1 to 15 minutes on a processor core"

RECIPES: Final[Mapping[str, Recipe]] = {
    "paper": Recipe(
        description="the paper's GMAP on AudioSet; settings that the paper does not state are those of PANNs",
        cost="19.2 million clips, ten passes over AudioSet: days on one GPU (PANNs took 3 on a Tesla V100)",
        config=_PAPER,
    ),
    "fine": Recipe(
        description="the paper's network on finer features: 128 mel bins, 10 ms frames, segments of 0.16 s",
        cost="19.2 million clips, each with 5.0 times the multiplications and activation memory of paper",
        # the stripes are as wide in seconds and hertz as before; the Fourier window of 32 ms stays, as it still has a
        # frequency in each of the 128 bins
        config=replace(_PAPER, n_mels=128, hop_ms=10.0, time_width=65, mel_width=16),
    ),
    "light": Recipe(
        description="for phones and small boards: the paper's training and pooling with a light backbone",
        cost="19.2 million clips, each with 0.10 times the multiplications of paper; 2.4 million parameters, not 6.5",
        config=replace(_PAPER, backbone="light"),
    ),
    "small": Recipe(
        description="own clips on a laptop: a narrow network at 16 kHz, a short run without augmentation",
        cost="16,000 clips: 5 to 10 minutes on 2 processor cores, for clips of 10 s",
        config=replace(
            _ON_FEW_CORES,
            width=16,
            n_clips_seen=16_000,
            batch_size=16,
            spec_augment=False,
            dropout=0.2,
        ),
    ),
    "esc50": Recipe(
        description="a few thousand clips of one sound each, such as ESC-50: strong augmentation; gave earmark-esc50",
        cost="480,000 clips of 1.25 to 5 s: two hours on one processor core with bf16 instructions",
        config=replace(
            _ON_FEW_CORES,
            width=32,
            n_clips_seen=480_000,
            clips_per_epoch=24_000,
            weight_decay=0.05,
            ema_decay=0.9995,
            time_width=16,
            random_shift_stretch=True,
            time_stretch=0.15,
            mel_shift=3.0,
            shortest_crop=0.25,
            mix_clips=0.5,
            mix_clips_db=10.0,
            gain_db=20.0,
            equalizer_db=6.0,
            softmax_weight=0.1,
            balanced=False,
            dropout=0.3,
            clip_duration=5.0,
        ),
    ),
    "audioset-features": Recipe(
        description="AudioSet's released features: pooling and classifier behind a perceptron of one layer",
        cost="66,480 clips, 3 passes over the balanced set: about a minute on a processor core",
        # chosen on validation clips (results/audioset/search.md); most poolings other than GMAP need the low dropout
        config=replace(
            _RELEASED,
            perceptron_layers=1,
            perceptron_norm=True,
            n_clips_seen=3 * 22_160,
            learning_rate=4e-3,
            mixup_alpha=0.0,
            dropout=0.1,
        ),
    ),
    "gemmeke-2017": Recipe(
        description="AudioSet's released features: the benchmark of Gemmeke 2017, mean of the scores of the segments",
        cost=_SYSTEM_COST,
        # "a shallow fully-connected neural network": the width is not stated
        config=replace(_SYSTEM, pooling="instance_mean", perceptron_layers=1, block_dropout=0.0),
    ),
    "kong-2018": Recipe(
        description="AudioSet's released features: decision-level attention of Kong 2018",
        cost=_SYSTEM_COST,
        config=replace(
            _SYSTEM,
            pooling="decision_attention",
            attention_function="softmax",
            perceptron_width=500,
            block_dropout=0.2,
        ),
    ),
    "yu-2018": Recipe(
        description="AudioSet's released features: multi-level attention of Yu 2018, on the last two of three layers",
        cost=_SYSTEM_COST,
        config=replace(
            _SYSTEM,
            pooling="multi_level_attention",
            attention_function="softmax",
            n_levels=2,
            perceptron_width=600,
            perceptron_norm=True,
            block_dropout=0.4,
        ),
    ),
    "kong-2019": Recipe(
        description="AudioSet's released features: feature-level attention of Kong 2019",
        cost=_SYSTEM_COST,
        config=replace(
            _SYSTEM,
            pooling="feature_attention",
            attention_function="sigmoid",
            perceptron_width=1024,
            perceptron_norm=True,
            block_dropout=0.5,
            classifier_norm=True,
            dropout=0.5,
        ),
    ),
}
"""The recipes by name."""


def recipe(name: str) -> TrainConfig:
    """The settings of a recipe; change some with `dataclasses.replace`.

    >>> recipe("paper").width
    64

    Raises:
        ConfigError: There is no such recipe.
    """
    if name not in RECIPES:
        close = get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the recipes are {', '.join(RECIPES)}"
        raise ConfigError(f"a recipe was expected, not {name!r}; {hint}")
    return RECIPES[name].config
