"""Live sources by name: microphones, URLs, files and standard input."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cyclopts import CycloptsError

from earmark.audio.live import Encoding, LiveSource, RawSamples, RecordedSound
from earmark.audio.live_media import MediaStream
from earmark.errors import AudioError, EarmarkError
from earmark.storage.remote import is_url


@dataclass(frozen=True)
class NamedSource:
    """A source and what is known of it before it is opened."""

    open: Callable[[], LiveSource]
    name: str
    """Without passwords."""
    is_live: bool = True
    recording: str | None = None
    """The file, where it is a whole recording."""


def named_source(
    source: str | None, sample_rate: int | None, channels: int | None, encoding: Encoding, timeout: float
) -> NamedSource:
    """The source that the flags of `earmark listen` name.

    Args:
        source: Number or part of the name of a microphone, a URL, a file or pipe, or - for standard input.
        sample_rate: Hz of raw samples or of the microphone.
        channels: Channels of raw samples or of the microphone.
        encoding: Type of raw samples.
        timeout: Seconds without sound after which a microphone or URL counts as lost.

    Raises:
        CycloptsError: A flag does not belong to the source.
    """
    is_input = source in ("-", "./-")
    if source is not None and is_url(source):
        _refuse_raw("a URL", sample_rate, channels)
        return NamedSource(lambda: MediaStream(source, _without_secrets(source), timeout), _without_secrets(source))
    if source is not None and not is_input and Path(source).exists():
        path = Path(source)
        _refuse_raw("a file", sample_rate, channels)
        if path.is_file():
            return NamedSource(lambda: RecordedSound(path), source, is_live=False, recording=source)
        return NamedSource(lambda: MediaStream(path.open("rb", buffering=0), source), source)
    if is_input:
        # Python cannot end while a thread waits for a buffered stream
        stream: BinaryIO = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)
        if sample_rate is None:
            _refuse_raw("encoded sound; give --sample-rate too", None, channels)
            return NamedSource(lambda: _encoded_input(stream), "standard input")
        raw = RawSamples(stream, sample_rate, channels or 1, encoding)
        return NamedSource(lambda: raw, "standard input")
    if source is not None and Path(source).name != source:
        raise CycloptsError(f"{source}: no such file")
    from earmark.audio.microphone import Microphone

    name = f"microphone {source}" if source else "the microphone"
    return NamedSource(lambda: Microphone(source, sample_rate, channels or 1, timeout), name)


def _encoded_input(stream: BinaryIO) -> MediaStream:
    """Encoded sound from standard input.

    Raises:
        AudioError: It cannot be opened; what follows may be readable.
        EarmarkError: It cannot be opened, and nothing follows.
    """
    try:
        return MediaStream(stream, "standard input")
    except AudioError as error:
        if not stream.read(1):
            raise EarmarkError(str(error)) from error
        raise


def _refuse_raw(what: str, sample_rate: int | None, channels: int | None) -> None:
    if sample_rate is not None or channels is not None:
        named = "--channels" if sample_rate is None else "--sample-rate"
        raise CycloptsError(f"{named} is for raw samples on standard input and microphones, not for {what}")


def _without_secrets(url: str) -> str:
    """The URL without user, password and query."""
    head, _, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{head}://{host.rpartition('@')[2]}{slash}{path.partition('?')[0]}"
