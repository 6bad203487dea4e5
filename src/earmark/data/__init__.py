"""Sources of labelled clips: one file per source, and every source yields the same `Dataset` of `Clip`s."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from earmark.data.clips import AudioReader, Clip, Dataset, FileAudio, Missing, RecordedAudio, check_disjoint
from earmark.errors import DataError

__all__ = [
    "SOURCES",
    "AudioReader",
    "Clip",
    "Dataset",
    "FileAudio",
    "Missing",
    "RecordedAudio",
    "check_disjoint",
    "open_data",
]


def _reader(module: str, function: str, has_list: bool = True) -> Callable[[Path, Missing], Dataset]:
    # a source's module is loaded when it is used
    def read(path: Path, missing: Missing) -> Dataset:
        reader = getattr(import_module(f"earmark.data.{module}"), function)
        # where nothing is listed, nothing is missing
        dataset: Dataset = reader(path, missing) if has_list else reader(path)
        return dataset

    return read


SOURCES: dict[str, Callable[[Path, Missing], Dataset]] = {
    "csv": _reader("manifest", "read_csv"),
    "folder": _reader("manifest", "read_folder", has_list=False),
    "esc50": _reader("esc50", "read_esc50"),
    "soundscapes": _reader("soundscapes", "read_soundscapes"),
    "clips": _reader("listing", "read_clips"),
}
"""What may stand before the colon of a data spec; to add a source, add its line here."""


def open_data(spec: str, missing: Missing = "error") -> Dataset:
    """The data set that a spec such as `folder:clips` or `csv:clips.csv` names.

    Raises:
        DataError: The spec names no source, the source finds no data set there, or, unless they are skipped, files are
            missing.
    """
    source, colon, path = spec.partition(":")
    if source in SOURCES and path:
        return SOURCES[source](Path(path), missing)
    choices = ", ".join(f"{name}:" for name in SOURCES)
    if source in SOURCES and (colon or not Path(spec).exists()):  # a folder may be called clips
        raise DataError(f"{spec!r}: expected a path after {source}:, as in {source}:PATH")
    if Path(spec).exists() or not colon:
        likely = "csv" if Path(spec).is_file() else "folder"
        raise DataError(f"{spec!r}: say what kind of data it is, for example {likely}:{spec}; there are {choices}")
    raise DataError(f"{spec!r}: unknown source {source!r}; there are {choices}")
