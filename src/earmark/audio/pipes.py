"""Recordings from pipes."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from earmark.audio.time_limit import LimitedCalls
from earmark.errors import AudioError

_COPIED_BYTES: Final = 1 << 20


@contextmanager
def temporary_copy(stream: BinaryIO, name: str = "standard input") -> Iterator[Path]:
    """A private temporary file with the content of a stream; it is removed when the block ends.

    Args:
        stream: A stream without seek, for example `sys.stdin.buffer`; decoders need to seek.
        name: Name of the recording in errors, also in those that the block raises about the temporary file.

    Raises:
        AudioError: The stream is empty or gives nothing for too long (`time_limit`), or the disk is full.
    """
    with tempfile.TemporaryDirectory(prefix="earmark-") as folder:
        path = Path(folder, "recording")
        limited = _LimitedStream(stream, name)
        try:
            with path.open("xb") as file:
                shutil.copyfileobj(limited, file, _COPIED_BYTES)
        except OSError as error:
            reason = f"{error.strerror or error}; set TMPDIR to use another folder"
            raise AudioError(f"{name}: cannot be copied to a temporary file: {reason}") from error
        finally:
            limited.close()
        if path.stat().st_size == 0:
            raise AudioError(f"{name}: empty, received 0 bytes")
        try:
            yield path
        except AudioError as error:
            raise AudioError(str(error).replace(str(path), name)) from error


class _LimitedStream:
    """A stream whose reads have the time limit."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._calls = LimitedCalls(name)
        # some bytes are progress: a slow stream need not fill a whole piece in time
        self._read = getattr(stream, "read1", stream.read)

    def read(self, n_bytes: int = -1, /) -> bytes:
        data: bytes = self._calls(lambda: self._read(n_bytes))
        return data

    def close(self) -> None:
        self._calls.finish()
