"""Sources of labelled clips: one module per source; every source yields a `Dataset` of `Clip`s."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from earmark.data.clips import AudioReader, Clip, Dataset, FileAudio, RecordedAudio, check_disjoint
from earmark.errors import DataError

__all__ = [
    "SOURCES",
    "AudioReader",
    "Clip",
    "Dataset",
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
    "clips": ("listing", "read_clips"),
    "segments": ("segment_store", "read_segments"),
    "audioset-features": ("released_features", "read_released_features"),
}
"""Module and reader by the name before the colon of a data spec; a new source adds its line here."""


def open_data(spec: str, lenient: bool = False) -> Dataset:
    """The data set that a spec such as `folder:clips` or `csv:clips.csv` names.

    Args:
        spec: A source, a colon, and a path.
        lenient: Skip faulty clips and list them in the data set: missing files (`Dataset.missing`), unknown labels
            (`Dataset.outside`), unreadable rows or files (`Dataset.damaged`).

    Raises:
        DataError: The spec names no source, or the source finds no data set there.
    """
    source, colon, path = spec.partition(":")
    if source in SOURCES and path:
        module, reader = SOURCES[source]  # the module is imported on first use
        dataset: Dataset = getattr(import_module(f"earmark.data.{module}"), reader)(path, lenient)
        return dataset
    choices = ", ".join(f"{name}:" for name in SOURCES)
    if source in SOURCES and (colon or not Path(spec).exists()):  # a folder may be called clips
        raise DataError(f"{spec!r}: expected a path after {source}:, as in {source}:PATH")
    if Path(spec).exists() or not colon:
        likely = {".parquet": "parquet"}.get(Path(spec).suffix, "csv") if Path(spec).is_file() else "folder"
        raise DataError(f"{spec!r}: say what kind of data it is, for example {likely}:{spec}; there are {choices}")
    raise DataError(f"{spec!r}: unknown source {source!r}; there are {choices}")
