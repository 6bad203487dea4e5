"""The decoder for wav, flac, ogg, opus, mp3 and the other formats of libsndfile."""

import os
from collections.abc import Iterable, Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from earmark.audio.containers import DecodingError, LenientFile, Section, Source, open_stream
from earmark.parallel.pipes import close_end, feed_pipe

_MP3_SLACK: Final = 1152
"""Samples in one frame; encoders count the padding at the ends differently."""
_UNKNOWN_LENGTH: Final = 1 << 62
"""libsndfile's length of files that state none, for example FLAC written to a pipe."""


class SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read forwards; `can_seek` says whether its format supports seek."""

    stream: BufferedIOBase | None = None
    """The stream that is read, which is closed with the file."""
    pipe: int | None = None
    """The end of the pipe that is read, which is closed with the file."""

    def seekable(self) -> bool:
        # soundfile seeks to the current position after every read of a seekable file. At the end of a FLAC without
        # stated length this fails and loses the last block, and it makes mp3 slow.
        return False

    @property
    def can_seek(self) -> bool:
        return bool(super().seekable())

    def close(self) -> None:
        super().close()
        if self.stream is not None:
            self.stream.close()
        if self.pipe is not None:
            close_end(self.pipe)
            self.pipe = None


def open_file(source: Source) -> SequentialFile:
    """A whole file.

    Raises:
        soundfile.SoundFileError: libsndfile does not read it.
    """
    return SequentialFile(_file_name(source)) if isinstance(source, Path) else _open_stream(open_stream(source))


def open_section(source: Source, start: int, stop: int, replaced: Mapping[int, bytes]) -> SequentialFile:
    """The part of a file between two offsets, with other bytes at some offsets from its start.

    Raises:
        soundfile.SoundFileError: libsndfile does not read it.
    """
    return _open_stream(Section(open_stream(source), start, stop, replaced))


def _open_stream(stream: BufferedIOBase) -> SequentialFile:
    try:
        file = SequentialFile(LenientFile(stream))
    except BaseException:
        stream.close()
        raise
    file.stream = stream
    return file


def open_pipe(pieces: Iterable[bytes]) -> SequentialFile:
    """A file that is made piece by piece while it is read.

    Raises:
        soundfile.SoundFileError: libsndfile does not read it.
    """
    # libsndfile guesses the length of an mp3 without one from the first frame's bit rate and stops there, in the
    # worst case at a sixth of the sound. It reads a pipe up to the end.
    incoming = feed_pipe(pieces)
    try:
        file = SequentialFile(incoming, closefd=False)
    except BaseException:
        close_end(incoming)
        raise
    file.pipe = incoming
    return file


class SoundFileDecoder:
    """The decoder for the formats of libsndfile."""

    def __init__(self, file: SequentialFile) -> None:
        self._file = file
        self.sample_rate: int = file.samplerate
        self.n_channels: int = file.channels
        self.n_samples = None if file.frames >= _UNKNOWN_LENGTH else int(file.frames)
        # mp3 is a codec in wav files too
        self.slack = _MP3_SLACK if file.format == "MP3" else 2 * _MP3_SLACK if "MPEG" in file.subtype else 0

    def read(self, n_samples: int) -> np.ndarray:
        try:
            samples: np.ndarray = self._file.read(n_samples, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            raise DecodingError(str(error)) from error
        return samples

    def skip(self, n_samples: int) -> None:
        if self._file.can_seek:
            try:
                self._file.seek(n_samples, soundfile.SEEK_CUR)
            except soundfile.SoundFileError as error:
                raise DecodingError(str(error)) from error
            return
        while n_samples > 0:
            n_samples -= len(self.read(min(n_samples, 65536))) or n_samples

    def close(self) -> None:
        self._file.close()


def _file_name(path: Path) -> Path | bytes:
    return os.fsencode(path) if os.name == "posix" else path  # file names need not be valid text
