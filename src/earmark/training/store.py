"""Log-mels of whole data sets on disk, shared by the runs that train on the same clips."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float32

from earmark.data.clips import Dataset, FileAudio
from earmark.errors import DataError
from earmark.model.frontend import FrontendConfig
from earmark.storage.files import atomic_write
from earmark.training.provenance import exact_sha256

_FORMAT: Final = 1
"""Increase it when the front end gives other values for the same sound."""
LogMelOrNone = Float32[np.ndarray, "_ mel"] | None
"""Clips differ in their frames; None is a clip that could not be read."""


class FeatureStore:
    """A folder of log-mels, one array per data set and front end; several processes may use it at once.

    The key of an entry is the clips in order, their files' sizes and modification times, and the front end. Arrays are
    memory-mapped: runs side by side share the memory. Only data sets of files are kept: nothing identifies the sound of
    other readers.

    Args:
        folder: Created at the first write.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    def find(self, dataset: Dataset, frontend: FrontendConfig) -> list[LogMelOrNone] | None:
        """The log-mels of the data set's clips, or None if they are not kept.

        Raises:
            DataError: The entry is damaged.
        """
        lengths_path, values_path = self._paths(dataset, frontend)
        if not (_are_files(dataset) and lengths_path.is_file() and values_path.is_file()):
            return None
        try:
            lengths = json.loads(lengths_path.read_text(encoding="utf-8"))
            values = np.load(values_path, mmap_mode="r", allow_pickle=False)
            ends = np.cumsum([0, *lengths])[1:]
        except (ValueError, TypeError, OSError) as error:
            raise _damaged(values_path) from error
        if len(lengths) != len(dataset) or values.shape != (ends[-1], frontend.n_mels) or values.dtype != np.float32:
            raise _damaged(values_path)
        return [values[end - length : end] if length else None for end, length in zip(ends, lengths, strict=True)]

    def keep(
        self,
        dataset: Dataset,
        frontend: FrontendConfig,
        log_mels: Sequence[LogMelOrNone],
    ) -> None:
        """Writes the log-mels of all clips, in order; nothing if the clips are not files."""
        if not _are_files(dataset):
            return
        lengths_path, values_path = self._paths(dataset, frontend)
        self.folder.mkdir(parents=True, exist_ok=True)
        lengths = [0 if one is None else len(one) for one in log_mels]
        header = {"descr": "<f4", "fortran_order": False, "shape": (sum(lengths), frontend.n_mels)}
        with atomic_write(values_path) as partial, partial.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            for one in log_mels:
                if one is not None:
                    file.write(np.ascontiguousarray(one, dtype="<f4").data)
        # the lengths come last: an entry without them is incomplete
        with atomic_write(lengths_path) as partial:
            partial.write_text(json.dumps(lengths), encoding="utf-8")

    def _paths(self, dataset: Dataset, frontend: FrontendConfig) -> tuple[Path, Path]:
        digest = hashlib.sha256(f"{_FORMAT} {exact_sha256(dataset)}".encode())
        digest.update(json.dumps(asdict(frontend), sort_keys=True).encode())
        for clip in dataset:
            if isinstance(clip.audio, FileAudio):
                try:
                    status = clip.audio.path.stat()
                except OSError:
                    continue  # reported when the clip is read
                digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
        stem = digest.hexdigest()[:24]
        return self.folder / f"{stem}.json", self.folder / f"{stem}.npy"


def _are_files(dataset: Dataset) -> bool:
    return all(isinstance(clip.audio, FileAudio) for clip in dataset)


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: the log-mels of a data set were expected, this file is damaged; delete it and run again")
