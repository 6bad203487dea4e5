"""Live sound: what every source has; raw samples from a pipe, and recordings as a source."""

from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Final, Literal, Protocol

import numpy as np

from earmark.audio.containers import DecodingError
from earmark.audio.decoding import open_decoder
from earmark.audio.resampling import validate_rate
from earmark.errors import AudioError, ConfigError

Encoding = Literal["int16", "int32", "float32"]
"""Little-endian samples: integers, or floats of full scale 1."""
_TYPES: Final = {"int16": "<i2", "int32": "<i4", "float32": "<f4"}
_BLOCK_SECONDS: Final = 0.1
_MAX_CHANNELS: Final = 64


class LiveSource(Protocol):
    """Sound that comes block by block. An `AudioError` of `read` means that the source is lost."""

    sample_rate: int
    """Hz."""
    n_channels: int

    def read(self) -> np.ndarray | None:
        """The next samples, (channel, sample); None when the sound has ended."""

    def close(self) -> None:
        """Closes the source; `read` is not called again."""


class RawSamples:
    """Interleaved samples without a header, from a pipe.

    Args:
        stream: An unbuffered stream: it gives what has come, without waiting for more.
        sample_rate: Hz.
        n_channels: Number of channels.
        encoding: Type of the samples.

    Raises:
        AudioError: The rate is invalid.
        ConfigError: The number of channels is invalid.
    """

    def __init__(self, stream: BinaryIO, sample_rate: int, n_channels: int = 1, encoding: Encoding = "int16") -> None:
        if not 1 <= n_channels <= _MAX_CHANNELS:
            raise ConfigError(f"a number from 1 to {_MAX_CHANNELS} was expected, not {n_channels}", "channels")
        self.sample_rate, self.n_channels = validate_rate(sample_rate), n_channels
        self._stream, self._encoding = stream, encoding
        self._frame = np.dtype(encoding).itemsize * n_channels
        self._block = max(1, int(_BLOCK_SECONDS * sample_rate)) * self._frame
        self._rest = b""

    def read(self) -> np.ndarray | None:
        """As in `LiveSource`; an incomplete last sample is dropped."""
        data = self._rest
        while len(data) < self._frame:
            new = self._stream.read(self._block)
            if not new:
                return None
            data += new
        whole = len(data) // self._frame * self._frame
        data, self._rest = data[:whole], data[whole:]
        samples = np.frombuffer(data, _TYPES[self._encoding]).astype(self._encoding, copy=False)
        return samples.reshape(-1, self.n_channels).T

    def close(self) -> None:
        """Leaves the stream open: it belongs to the caller."""


class RecordedSound:
    """A recording as a source, as fast as it can be read.

    Raises:
        AudioError: The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._name = str(path)
        with ExitStack() as opened:
            self._decoder = opened.enter_context(open_decoder(path, self._name))
            self.sample_rate, self.n_channels = self._decoder.sample_rate, self._decoder.n_channels
            self._opened = opened.pop_all()

    def read(self) -> np.ndarray | None:
        """As in `LiveSource`.

        Raises:
            AudioError: The file is damaged.
        """
        try:
            samples = self._decoder.read(self.sample_rate)
        except DecodingError as error:
            raise AudioError(f"{self._name}: damaged ({error}); copy or download it again") from error
        return samples.T if len(samples) else None

    def close(self) -> None:
        """As in `LiveSource`."""
        self._opened.close()
