"""Flags of events, the same for every command that finds them."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

from earmark.cli.flags import ThresholdOrFile
from earmark.cli.labels import check_labels, labels_in, read_labels, read_thresholds
from earmark.errors import ConfigError, DataError, Limit, check_settings
from earmark.inference.events import SECONDS_PER_HOUR, EventSettings, Threshold
from earmark.labels import LabelSet

_FILES: Final = ("labels", "threshold")
_TABLES: Final = (".txt", ".csv", ".tsv")


@dataclass(frozen=True)
class EventFlags:
    """Rules of events as the command line gives them.

    Raises:
        ConfigError: A number is outside its limits, or the threshold is neither a score nor auto nor a file.
    """

    labels: str | None = None
    """Find only these labels: names or ids joined by commas, or a file with one a line; by default all."""
    threshold: ThresholdOrFile = None
    """Lowest score of an event: a number, auto (the model's), or a file of `earmark thresholds`; else auto or 0.5."""
    release: Annotated[float, Limit(above=0, at_most=1)] = 0.8
    """Fraction of the threshold at which an event ends."""
    max_gap: Annotated[float, Limit(at_least=0, at_most=SECONDS_PER_HOUR)] = 0.0
    """Join events of a label that are at most this many seconds apart."""
    min_duration: Annotated[float, Limit(at_least=0, at_most=SECONDS_PER_HOUR)] = 0.0
    """Drop events shorter than this many seconds, after joining."""
    pad: Annotated[float, Limit(at_least=0, at_most=SECONDS_PER_HOUR)] = 0.0
    """Add this many seconds before and after each event; events that then touch become one."""
    per_hour: Annotated[int | None, Limit(at_least=1)] = None
    """Keep only this many events in each hour of a recording: those with the highest scores."""

    def __post_init__(self) -> None:
        check_settings(self)
        check_threshold(self.threshold)

    def settings(self, labels: LabelSet) -> EventSettings:
        """The rules for a model with these labels.

        Raises:
            DataError: A file cannot be read, or a label is unknown.
        """
        chosen = labels_of(self.labels, labels)
        times = {name: value for name, value in asdict(self).items() if name not in _FILES}
        return EventSettings(labels=chosen, threshold=threshold_of(self.threshold, labels), **times)


def labels_of(text: str | None, labels: LabelSet) -> tuple[str, ...] | None:
    """The labels of a model that --labels chooses; None without --labels.

    Raises:
        DataError: The file cannot be read, or a label is unknown.
    """
    if text is None:
        return None
    if text not in labels and names_file(text):
        chosen = read_labels(Path(text))
        check_labels(Path(text), chosen, labels)
        return chosen
    if text not in labels and Path(text).suffix.lower() in _TABLES:
        raise DataError(f"labels: {text}: no such file")
    chosen = labels_in(text, labels)
    for label in chosen:
        labels.index(label)
    return chosen


def names_file(text: str) -> bool:
    """Whether the value of --labels is the path of a file; a list of labels may be longer than a path can be."""
    return os.path.isfile(text)  # noqa: PTH113 (never raises)


def check_threshold(threshold: ThresholdOrFile) -> None:
    """Checks the value of --threshold.

    Raises:
        ConfigError: It is neither a score nor auto nor a file.
    """
    if isinstance(threshold, Path) and threshold.suffix and not threshold.exists():
        raise ConfigError(f"{threshold}: no such file of thresholds", "threshold")
    is_score = isinstance(threshold, float | int) and 0 <= threshold <= 1
    is_file = isinstance(threshold, Path) and threshold.is_file()
    if not (threshold is None or threshold == "auto" or is_score or is_file):
        raise ConfigError(
            f"a score from 0 to 1, auto or a file of thresholds was expected, not {str(threshold)!r}", "threshold"
        )


def threshold_of(threshold: ThresholdOrFile, labels: LabelSet) -> Threshold:
    """The threshold for a model with these labels; the content of a file.

    Raises:
        DataError: The file cannot be read, or has a label that the model lacks.
    """
    if not isinstance(threshold, Path):
        return threshold
    thresholds = read_thresholds(threshold)
    check_labels(threshold, thresholds, labels)
    return thresholds
