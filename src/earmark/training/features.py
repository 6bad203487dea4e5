"""Checks data sets before training, and turns them into features and targets."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

from earmark.data.clips import Clip, Dataset, check_disjoint
from earmark.data.segments import segments_of
from earmark.data.targets import Targets
from earmark.errors import ConfigError, DataError, EarmarkWarning, counted, first_few
from earmark.labels import LabelSet
from earmark.model.frontend import LogMel
from earmark.model.network import Network
from earmark.training.batches import AnyTargets, Features, Waveforms, unreadable_clips
from earmark.training.cache import available_bytes, estimated_bytes, log_mels
from earmark.training.settings import OF_ENCODER, OF_SOUND, TrainConfig

_OF_LOG_MELS: Final = ("random_shift_stretch", "shortest_crop", "mix_clips", "gain_db", "equalizer_db")
"""Settings of augmentation that changes a log-mel as no change of its waveform would."""
Columns = tuple[Features, AnyTargets, tuple[str, ...]]
"""Features, targets and ids of the clips of a data set."""


def check_data(config: TrainConfig, data: Dataset, valid: Dataset | None, is_taught: bool = False) -> None:
    """Checks that the data sets can be learned from and validated on; where a teacher scores them, without labels too.

    Raises:
        DataError: A data set is unlabelled, wholly or (unless the config allows it) in part; or the validation clips
            have labels that the training set lacks, share sources with it, or are of another kind.
        CheckpointError: The checkpoint that is to encode the clips cannot be read.
        ConfigError: A setting is about sound, which encoded clips no longer have.
    """
    _check_encoded(config, data, valid)
    for part, dataset in (("training", data), ("validation", valid)):
        if dataset is not None and not is_taught:
            _check_labelled(dataset, part, config.allow_unlabelled)
    if not is_taught and (bare := data.labels_without_clips()):
        lacking = f"{len(bare)} of {counted(len(data.labels), 'label')}"
        text = f"there are no training clips for {lacking}, which the network cannot learn: {first_few(bare)}"
        warnings.warn(f"{data.name}: {text}", EarmarkWarning, stacklevel=3)
    if valid is None:
        return
    used = {label for clip in valid for label in clip.labels}
    if unknown := sorted(used - set(data.labels.names)):
        raise DataError(
            f"{valid.name}: the training set ({counted(len(data.labels), 'label')}) lacks "
            f"{counted(len(unknown), 'label')} of the validation clips: {first_few(unknown)}; select the labels that "
            "both have"
        )
    check_disjoint(data, valid)


def _check_encoded(config: TrainConfig, data: Dataset, valid: Dataset | None) -> None:
    """Checks data sets and settings where a head is trained on encoded clips.

    Raises:
        DataError: Training and validation clips are of different kinds or different encoders.
        CheckpointError: The checkpoint that is to encode the clips cannot be read.
        ConfigError: A setting is about sound, which segments no longer have.
    """
    segments = segments_of(data)
    others = None if valid is None else segments_of(valid)
    if valid is not None and (segments and segments.encoder) != (others and others.encoder):
        names = [found.encoder.name if found else "sound" for found in (segments, others)]
        raise DataError(
            f"{valid.name}: validation clips of the same kind as the training clips were expected, those have "
            f"{names[0]}, these {names[1]}"
        )
    if segments is not None and config.freeze != "none":
        raise ConfigError("none was expected for clips that are encoded already, not backbone", "freeze")
    if segments is None and config.freeze == "none":
        return
    for name in OF_SOUND:
        is_of_encoder = segments is None and name in OF_ENCODER  # compared with the checkpoint
        if (value := getattr(config, name)) != getattr(TrainConfig, name) and not is_of_encoder:
            raise ConfigError(
                f"cannot be {value!r} where clips are encoded once: front end and backbone have run before, and only "
                "the head is trained; leave it out",
                name,
            )
    if segments is None:
        config.network_config()  # checks the settings of the encoder


def check_waveforms(config: TrainConfig, network: Network) -> None:
    """Checks the settings of a run whose backbone takes the waveform beside the log-mel.

    Raises:
        ConfigError: A setting keeps or changes log-mels alone.
    """
    if not network.backbone.takes_waveform:
        return
    wanted = {name: getattr(TrainConfig, name) for name in _OF_LOG_MELS} | {"cache": config.cache}
    if config.cache == "log_mel":
        wanted["cache"] = "none"
    for name, value in wanted.items():
        if (asked := getattr(config, name)) != value:
            raise ConfigError(
                f"{value} was expected, not {asked}: the backbone {network.config.backbone!r} takes the waveform too, "
                "which this setting leaves out",
                name,
                remedy={name: value},
            )


def _check_labelled(dataset: Dataset, part: str, allowed: bool) -> None:
    bare = [clip.id for clip in dataset if clip.is_unlabelled]
    if not any(clip.labels for clip in dataset):
        raise DataError(f"{dataset.name}: none of the {len(dataset)} {part} clips has a label; label them first")
    if bare and not allowed:
        raise DataError(
            f"{dataset.name}: no label in {len(bare)} of {counted(len(dataset), f'{part} clip')}: {first_few(bare)}; "
            "label or remove them, or allow them if none of the labels sounds in them",
            remedy={"allow_unlabelled": True},
        )


def chosen_cache(
    config: TrainConfig,
    datasets: Sequence[Dataset | None],
    frontend: LogMel,
    n_processes: int = 1,
    takes_waveform: bool = False,
) -> Literal["log_mel", "none"]:
    """The cache that the config names; auto keeps log-mels that fit into `cache_gib` and half of the free memory.

    Each of the `n_processes` on this machine keeps all log-mels. A backbone that takes the waveform cannot use them.
    """
    if config.cache != "auto":
        return config.cache
    if takes_waveform:
        return "none"
    limit = config.cache_gib * 2**30
    if (available := available_bytes()) is not None:
        limit = min(limit, available / 2)
    needed = sum(estimated_bytes(dataset.clips, frontend) for dataset in datasets if dataset is not None)
    return "log_mel" if needed * n_processes <= limit else "none"


def read_features(
    dataset: Dataset,
    labels: LabelSet,
    frontend: LogMel,
    is_cached: bool,
    skip_bad: bool,
    n_readers: int,
    advance: Callable[[int], None],
    folder: Path | None = None,
) -> tuple[Columns, list[tuple[str, str]]]:
    """Features, targets and ids of the clips, and (id, error) of the clips that were left out.

    The features are all log-mels in memory if `is_cached`, otherwise waveforms that are read on demand. `frontend`,
    `n_readers`, `advance` and `folder` are as for `log_mels`.

    Raises:
        DataError: Clips cannot be read and `skip_bad` is off, or no clip can be read.
    """
    clips: Sequence[Clip] = dataset.clips
    skipped: list[tuple[str, str]] = []
    features: Features = Waveforms(clips, frontend.config.sample_rate)
    if is_cached:
        mels, skipped = log_mels(dataset, frontend, n_readers, advance, folder)
        if len(skipped) == len(clips) or (skipped and not skip_bad):
            raise unreadable_clips(skipped, dataset.name, len(clips))
        clips = [clip for clip, mel in zip(clips, mels, strict=True) if mel is not None]
        features = [mel for mel in mels if mel is not None]
    return _columns(features, clips, labels), skipped


def segment_features(dataset: Dataset, labels: LabelSet) -> Columns:
    """The same for clips that have segments.

    Raises:
        DataError: They have not.
    """
    segments = segments_of(dataset)
    if segments is None:
        raise DataError(f"{dataset.name}: clips with segments were expected, these have sound")
    return _columns(segments, dataset.clips, labels)


def _columns(features: Features, clips: Sequence[Clip], labels: LabelSet) -> Columns:
    target = Targets((clip.labels for clip in clips), labels, [clip.known for clip in clips])
    return features, target, tuple(clip.id for clip in clips)
