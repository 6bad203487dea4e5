"""Sources of labelled clips: one module per source; every source yields a `Dataset` of `Clip`s."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

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


def _reader(module: str, function: str, has_lenient: bool = False) -> Callable[[str, bool], Dataset]:
    # a source's module is imported on first use
    def read(path: str, lenient: bool) -> Dataset:
        reader = getattr(import_module(f"earmark.data.{module}"), function)
        dataset: Dataset = reader(path, lenient=True) if lenient and has_lenient else reader(path)
        return dataset

    return read


SOURCES: dict[str, Callable[[str, bool], Dataset]] = {
    "csv": _reader("manifest", "read_csv", has_lenient=True),
    "folder": _reader("manifest", "read_folder", has_lenient=True),
    "parquet": _reader("parquet", "read_parquet", has_lenient=True),
    "audioset": _reader("audioset", "read_audioset", has_lenient=True),
    "fsd50k": _reader("fsd50k", "read_fsd50k", has_lenient=True),
    "esc50": _reader("esc50", "read_esc50", has_lenient=True),
    "soundscapes": _reader("soundscapes", "read_soundscapes", has_lenient=True),
    "clips": _reader("listing", "read_clips", has_lenient=True),
}
"""Readers by the name before the colon of a data spec; a new source adds its line here."""


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
        return SOURCES[source](path, lenient)
    choices = ", ".join(f"{name}:" for name in SOURCES)
    if source in SOURCES and (colon or not Path(spec).exists()):  # a folder may be called clips
        raise DataError(f"{spec!r}: expected a path after {source}:, as in {source}:PATH")
    if Path(spec).exists() or not colon:
        likely = {".parquet": "parquet"}.get(Path(spec).suffix, "csv") if Path(spec).is_file() else "folder"
        raise DataError(f"{spec!r}: say what kind of data it is, for example {likely}:{spec}; there are {choices}")
    raise DataError(f"{spec!r}: unknown source {source!r}; there are {choices}")
