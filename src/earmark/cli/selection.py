"""Selection of clips by the DATA, --split and --labels arguments of the commands."""

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Group, Parameter

from earmark.audio import decoding
from earmark.cli.flags import split_words
from earmark.cli.labels import labels_in
from earmark.cli.screen import note
from earmark.data import ANNOTATED, Dataset, EventClips, RecordedAudio, open_data
from earmark.data.damage import DamageError
from earmark.data.parquet_audio import ParquetAudio
from earmark.errors import AudioError, ConfigError, DataError, EarmarkWarning, counted
from earmark.labels import ESC10

# here, since `--help` of other commands does not need NumPy, which EventClips loads
ClipsOfEvents = Annotated[EventClips, Parameter(name="*", negative="", group=Group("Clips of annotations"))]
_LOOKED_AT: Final = 8
"""Number of recordings, evenly spread over the data set, whose sample rate is read."""


def select(
    data: str,
    splits: str | None = None,
    labels: str | None = None,
    lenient: bool = False,
    label_separator: str | None = None,
    event_clips: EventClips | None = None,
) -> Dataset:
    """The clips in given splits with at least one of the given labels.

    Args:
        data: A source and a path, such as `esc50:DIR`.
        splits: Names of splits joined by commas.
        labels: Names or ids of labels joined by commas, or `esc10`.
        lenient: As in `open_data`.
        label_separator: As in `open_data`.
        event_clips: As in `open_data`.

    Raises:
        ConfigError: `label_separator` is empty, or clips without a label are wanted together with `labels`.
        DataError: A source, split or label does not exist, or no clip is left.
    """
    if labels is not None and event_clips is not None and event_clips.negatives:
        raise ConfigError("--labels keeps only clips with one of the labels; leave out one of both flags", "negatives")
    try:
        dataset = open_data(data, lenient, label_separator, event_clips)
    except DamageError as error:
        if lenient:  # called by the doctor
            raise
        raise DataError(f"{error}; `earmark doctor` finds all faults and lists the clean clips") from error
    return choose_clips(dataset, splits, labels)


def note_unlabelled(datasets: Sequence[Dataset], quiet: bool) -> None:
    """Notes clips without labels, which a measurement takes as examples of none."""
    if n_bare := sum(clip.is_unlabelled for dataset in datasets for clip in dataset):
        note(f"note: {counted(n_bare, 'clip')} without labels: all labels count as absent there", quiet)


def choose_clips(dataset: Dataset, splits: str | None = None, labels: str | None = None) -> Dataset:
    """The clips of an open data set in given splits, with at least one of the given labels.

    Args:
        dataset: All clips.
        splits: As in `select`, like `labels`.

    Raises:
        DataError: A split or label does not exist, or no clip is left.
    """
    if splits is None and labels is None:
        return dataset
    names = ESC10 if labels == "esc10" else None if labels is None else labels_in(labels, dataset.labels)
    selected = dataset.select(splits=_words("split", splits), labels=names)
    if splits is not None and (bare := [clip.id for clip in dataset if clip.split is None]):
        text = f"{dataset.name}: skipped {counted(len(bare), 'clip')} in no split, such as {bare[0]}"
        warnings.warn(text, EarmarkWarning, stacklevel=2)
    # the name appears in reports
    chosen = [f"{name} {text}" for name, text in (("split", splits), ("labels", labels)) if text is not None]
    return replace(selected, name=f"{dataset.name} ({'; '.join(chosen)})")


def check_annotated(event_clips: EventClips, *specs: str | None) -> None:
    """Refuses settings of clips made from annotations where no data set has annotations.

    Raises:
        ConfigError: A setting is not its default, and no spec names a source with annotations.
    """
    if any(spec is not None and spec.partition(":")[0] in ANNOTATED for spec in specs):
        return
    defaults = asdict(EventClips())
    changed = next((name for name, value in asdict(event_clips).items() if value != defaults[name]), None)
    if changed is not None:
        sources = ", ".join(f"{name}:" for name in ANNOTATED)
        raise ConfigError(f"it makes clips from annotations; data from {sources} was expected", changed)


def published(clips: Dataset, data: str) -> Dataset:
    """The clips under a name without the folders of this machine."""
    path = data.partition(":")[2]
    name = clips.name
    for written in (path, str(Path(path))):
        name = name.replace(written, Path(path).name) if written.strip("./") else name
    return replace(clips, name=name)


def rate_below(sample_rate: int, clips: Dataset) -> int | None:
    """The highest sample rate (Hz) of a few recordings; None if it is not below `sample_rate`, or none is readable."""
    is_by_groups = isinstance(clips[0].audio, ParquetAudio)  # reading a row reads its row group
    some = clips.clips[:: 1 if is_by_groups else max(1, len(clips) // _LOOKED_AT)][:_LOOKED_AT]
    rates = []
    for audio in (clip.audio for clip in some):
        with suppress(AudioError, OSError):  # reported when the clip itself is read
            if isinstance(audio, RecordedAudio):
                with decoding.open_decoder(audio.recording(), "the recording") as decoder:
                    rates.append(decoder.sample_rate)
    rate = max(rates, default=sample_rate)
    return rate if rate < sample_rate else None


def _words(name: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    words = split_words(text)
    if not words:
        raise DataError(f"{name}: expected names joined by commas, got {text!r}")
    return words
