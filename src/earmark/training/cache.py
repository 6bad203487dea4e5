"""Log-mels of a whole data set, computed once: in memory, or in a file that runs on the same clips share."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32

from earmark.audio.recording import Audio
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.errors import DataError, EarmarkError
from earmark.model.frontend import FrontendConfig, LogMel
from earmark.parallel.prefetch import in_threads
from earmark.storage.files import atomic_write
from earmark.training.batches import sound_or_error
from earmark.training.provenance import exact_sha256

_CLIPS_PER_TRANSFORM: Final = 8
_N_PROBED: Final = 8
_FORMAT: Final = 2
"""Increase it when the file or the values of the front end change."""
LogMelOrNone = Float32[np.ndarray, "_ mel"] | None
"""Clips differ in their frames; None is a clip that could not be read."""


def log_mels(
    dataset: Dataset, frontend: LogMel, n_readers: int, advance: Callable[[int], None], folder: Path | None = None
) -> tuple[list[LogMelOrNone], list[tuple[str, str]]]:
    """The log-mel of each clip, None for an unreadable one, and (id, error) of the unreadable ones.

    Threads decode, outside the interpreter lock for most of the time, while the caller's thread transforms.

    Args:
        dataset: Clips to read.
        frontend: The network's front end, on the CPU.
        n_readers: Threads that decode.
        advance: Called with the number of clips done since the last call.
        folder: Keeps the log-mels in a file for the next call, if all clips are files and can be read. The file is
            mapped into memory, which processes share.

    Raises:
        DataError: The file is damaged.
    """
    path = None if folder is None else _path(folder, dataset, frontend.config)
    if path is not None and path.exists():
        advance(len(dataset))
        return _read(path, len(dataset), frontend.config.n_mels), []
    result: list[LogMelOrNone] = []
    failed: list[tuple[str, str]] = []
    read = partial(sound_or_error, sample_rate=frontend.config.sample_rate)
    sounds = in_threads(read, dataset.clips, max(1, n_readers), 2 * _CLIPS_PER_TRANSFORM + n_readers)
    pairs = zip(dataset.clips, sounds, strict=True)
    # only clips of one length go together: without padding each gives exactly what it gives alone
    for length, group in groupby(pairs, lambda pair: -1 if isinstance(pair[1], str) else len(pair[1].waveform)):
        while batch := list(islice(group, _CLIPS_PER_TRANSFORM)):
            if length < 0:
                result += [None] * len(batch)
                failed += [(clip.id, str(error)) for clip, error in batch]
            else:
                waveforms = [sound.waveform for _, sound in batch if isinstance(sound, Audio)]
                with torch.inference_mode():
                    features = frontend(torch.from_numpy(np.stack(waveforms)))
                # copies, so that no clip keeps its whole batch alive
                result += [np.array(one) for one in features.numpy()]
            advance(len(batch))
    if path is not None and not failed:
        _write(path, [one for one in result if one is not None])
        result = _read(path, len(dataset), frontend.config.n_mels)
    return result, failed


def _path(folder: Path, dataset: Dataset, frontend: FrontendConfig) -> Path | None:
    """The file for these clips, their files' sizes and times, and this front end; None if clips are not files."""
    digest = hashlib.sha256(f"{_FORMAT} {exact_sha256(dataset)}".encode())
    digest.update(json.dumps(asdict(frontend), sort_keys=True).encode())
    for clip in dataset:
        if not isinstance(clip.audio, FileAudio):
            return None  # nothing identifies the sound of other readers
        try:
            status = clip.audio.path.stat()
        except OSError:
            continue  # reported when the clip is read
        digest.update(f"{status.st_size} {status.st_mtime_ns}\n".encode())
    return folder / f"{digest.hexdigest()[:24]}.npy"


def _write(path: Path, values: Sequence[Float32[np.ndarray, "_ mel"]]) -> None:
    """Writes two NumPy arrays one after the other: the frames of all clips, and the number of frames of each."""
    lengths = np.array([len(one) for one in values])
    header = {"descr": "<f4", "fortran_order": False, "shape": (int(lengths.sum()), values[0].shape[1])}
    with atomic_write(path) as partial, partial.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for one in values:
            file.write(np.ascontiguousarray(one, dtype="<f4").data)
        np.save(file, lengths)


def _read(path: Path, n_clips: int, n_mels: int) -> list[LogMelOrNone]:
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
        with path.open("rb") as file:
            file.seek(frames.offset + frames.nbytes)
            lengths = np.load(file, allow_pickle=False)
    except (ValueError, TypeError, OSError, EOFError) as error:
        raise _damaged(path) from error
    if len(lengths) != n_clips or frames.shape != (lengths.sum(), n_mels) or frames.dtype != np.float32:
        raise _damaged(path)
    return list(np.split(frames, np.cumsum(lengths)[:-1]))


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: the log-mels of a data set were expected, this file is damaged; delete it and run again")


def estimated_bytes(clips: Sequence[Clip], frontend: LogMel) -> int:
    """Memory for the log-mels of all clips, estimated from the durations of a few of them."""
    sample_rate, n_mels = frontend.config.sample_rate, frontend.config.n_mels
    lengths = []
    for position in sorted({int(p) for p in np.linspace(0, len(clips) - 1, _N_PROBED)}):
        try:
            lengths.append(len(clips[position].load(sample_rate).waveform))
        except (EarmarkError, OSError):
            continue  # reported when all clips are read
    mean = sum(lengths) / max(1, len(lengths)) / frontend.config.hop_length
    return int(mean * n_mels * 4 * len(clips))


def available_bytes() -> int | None:
    """Memory that new arrays may take without swapping; None where the system does not say (Linux does)."""
    try:
        found = re.search(r"^MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text(), re.M)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None
