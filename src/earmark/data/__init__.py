"""Sources of labelled clips: one file per source, and every source yields the same `Dataset` of `Clip`s."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from earmark.data.clips import AudioReader, Clip, Dataset, FileAudio, check_disjoint
from earmark.errors import DataError

__all__ = ["SOURCES", "AudioReader", "Clip", "Dataset", "FileAudio", "check_disjoint", "open_data"]


def _reader(module: str, function: str) -> Callable[[str], Dataset]:
    # a source's module is loaded when it is used
    def read(path: str) -> Dataset:
        dataset: Dataset = getattr(import_module(f"earmark.data.{module}"), function)(path)
        return dataset

    return read


SOURCES: dict[str, Callable[[str], Dataset]] = {
    "csv": _reader("manifest", "read_csv"),
    "folder": _reader("manifest", "read_folder"),
    "parquet": _reader("parquet", "read_parquet"),
    "audioset": _reader("audioset", "read_audioset"),
    "fsd50k": _reader("fsd50k", "read_fsd50k"),
    "esc50": _reader("esc50", "read_esc50"),
    "soundscapes": _reader("soundscapes", "read_soundscapes"),
}
"""What may stand before the colon of a data spec; to add a source, add its line here."""


def open_data(spec: str) -> Dataset:
    """The data set that a spec such as `folder:clips` or `csv:clips.csv` names.

    Raises:
        DataError: The spec names no source, or the source finds no data set there.
    """
    source, colon, path = spec.partition(":")
    if source in SOURCES and path:
        return SOURCES[source](path)
    choices = ", ".join(f"{name}:" for name in SOURCES)
    if source in SOURCES:
        raise DataError(f"{spec!r}: expected a path after {source}:, as in {source}:PATH")
    if Path(spec).exists() or not colon:
        likely = {".parquet": "parquet"}.get(Path(spec).suffix, "csv") if Path(spec).is_file() else "folder"
        raise DataError(f"{spec!r}: say what kind of data it is, for example {likely}:{spec}; there are {choices}")
    raise DataError(f"{spec!r}: unknown source {source!r}; there are {choices}")
