"""Sources of labelled clips: one module per source; every source yields a `Dataset` of `Clip`s."""

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from earmark.data.clips import AudioReader, Clip, Dataset, FileAudio, RecordedAudio, check_disjoint
from earmark.data.event_clips import EventClips
from earmark.data.joined_labels import split_labels, warn_of_joined
from earmark.errors import DataError
from earmark.storage.files import in_either_form
from earmark.storage.remote import is_url

__all__ = [
    "ANNOTATED",
    "SOURCES",
    "AudioReader",
    "Clip",
    "Dataset",
    "EventClips",
    "FileAudio",
    "RecordedAudio",
    "check_disjoint",
    "open_data",
]


SOURCES: Final[Mapping[str, tuple[str, str]]] = {
    "csv": ("manifest", "read_csv"),
    "folder": ("manifest", "read_folder"),
    "parquet": ("parquet", "read_parquet"),
    "audioset": ("audioset", "read_audioset"),
    "fsd50k": ("fsd50k", "read_fsd50k"),
    "esc50": ("esc50", "read_esc50"),
    "soundscapes": ("soundscapes", "read_soundscapes"),
    "raven": ("annotated", "read_raven"),
    "audacity": ("annotated", "read_audacity"),
    "dcase": ("annotated", "read_dcase"),
    "label-studio": ("annotated", "read_label_studio"),
    "clips": ("listing", "read_clips"),
    "segments": ("segment_store", "read_segments"),
    "audioset-features": ("released_features", "read_released_features"),
}
"""Module and reader by the name before the colon of a data spec; a new source adds its line here."""


ANNOTATED: Final = ("raven", "audacity", "dcase", "label-studio")
"""Sources whose clips are made from annotations, by the rules of `EventClips`."""
_REMOTE: Final = ("parquet",)
"""Sources that read URLs."""


def open_data(
    spec: str, lenient: bool = False, label_separator: str | None = None, event_clips: EventClips | None = None
) -> Dataset:
    """The data set that a spec such as `folder:clips` or `csv:clips.csv` names.

    An `EarmarkWarning` reports labels that are likely several in one, such as `dog,rain` beside `dog`.

    Args:
        spec: A source, a colon, and a path.
        lenient: Skip faulty clips and list them in the data set: missing files (`Dataset.missing`), unknown labels
            (`Dataset.outside`), unreadable rows or files (`Dataset.damaged`).
        label_separator: Text at which each label is split into several, beyond the separator of the source.
        event_clips: How annotations become clips; None takes the defaults. Other sources ignore it.

    Raises:
        ConfigError: `label_separator` is empty.
        DataError: The spec names no source, or the source finds no data set there.
    """
    source, colon, path = spec.partition(":")
    if source in SOURCES and path:
        module, reader = SOURCES[source]  # the module is imported on first use
        if is_url(path) and source not in _REMOTE:
            remote = " and ".join(f"{name}:" for name in _REMOTE)
            raise DataError(f"{spec}: a local path was expected, not a URL; only {remote} takes URLs")
        place = path if is_url(path) else os.fspath(in_either_form(Path(path)))
        more = (event_clips,) if source in ANNOTATED else ()
        dataset: Dataset = getattr(import_module(f"earmark.data.{module}"), reader)(place, lenient, *more)
        if label_separator is not None:
            return split_labels(dataset, label_separator)
        warn_of_joined(dataset)
        return dataset
    choices = ", ".join(f"{name}:" for name in SOURCES)
    if source in SOURCES and (colon or not Path(spec).exists()):  # a folder may be called clips
        raise DataError(f"{spec!r}: expected a path after {source}:, as in {source}:PATH")
    if Path(spec).exists() or not colon:
        likely = {".parquet": "parquet"}.get(Path(spec).suffix, "csv") if Path(spec).is_file() else "folder"
        raise DataError(f"{spec!r}: say what kind of data it is, for example {likely}:{spec}; there are {choices}")
    raise DataError(f"{spec!r}: unknown source {source!r}; there are {choices}")
