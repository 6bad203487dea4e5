"""Log-mels of a whole data set, computed once and kept in memory."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32

from earmark.data.clips import Clip
from earmark.errors import EarmarkError
from earmark.model.frontend import LogMel

_CLIPS_PER_TRANSFORM: Final = 8
_N_PROBED: Final = 8


def log_mels(
    clips: Sequence[Clip], frontend: LogMel, n_readers: int, advance: Callable[[int], None]
) -> tuple[list[Float32[np.ndarray, "frame mel"] | None], list[tuple[str, str]]]:
    """The log-mel of each clip, None for an unreadable one, and (id, error) of the unreadable ones.

    Threads decode, outside the interpreter lock for most of the time, while the caller's thread transforms.

    Args:
        clips: Clips to read.
        frontend: The network's front end, on the CPU.
        n_readers: Threads that decode.
        advance: Called with the number of clips done since the last call.
    """
    result: list[Float32[np.ndarray, "frame mel"] | None] = []
    failed: list[tuple[str, str]] = []
    pending: list[np.ndarray] = []

    def transform() -> None:
        if pending:
            with torch.inference_mode():
                features = frontend(torch.from_numpy(np.stack(pending)))
            # copies, so that no clip keeps its whole batch alive
            result.extend(np.array(one) for one in features.numpy())
            advance(len(pending))
            pending.clear()

    for clip, waveform in _read_ahead(clips, frontend.config.sample_rate, n_readers):
        # only clips of one length go together: without padding each gives exactly what it gives alone
        is_unreadable = isinstance(waveform, str)
        if pending and (is_unreadable or len(pending) == _CLIPS_PER_TRANSFORM or len(waveform) != len(pending[0])):
            transform()
        if isinstance(waveform, str):
            result.append(None)
            failed.append((clip.id, waveform))
            advance(1)
        else:
            pending.append(waveform)
    transform()
    return result, failed


def _read_ahead(clips: Sequence[Clip], sample_rate: int, n_readers: int) -> Iterator[tuple[Clip, np.ndarray | str]]:
    """Each clip with its waveform, or with the error's text; only a few are in memory at a time."""

    def read(clip: Clip) -> np.ndarray | str:
        try:
            return clip.load(sample_rate).waveform
        except (EarmarkError, OSError) as error:
            return str(error)

    waiting: deque[tuple[Clip, Future[np.ndarray | str]]] = deque()
    pool = ThreadPoolExecutor(max(1, n_readers), "earmark-reader")
    try:
        for clip in clips:
            waiting.append((clip, pool.submit(read, clip)))
            if len(waiting) >= 2 * _CLIPS_PER_TRANSFORM + n_readers:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


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
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
    return None
