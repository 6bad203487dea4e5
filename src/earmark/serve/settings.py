"""Limits of the server."""

from dataclasses import dataclass
from typing import Annotated

from earmark.errors import Limit, check_settings


@dataclass(frozen=True)
class ServeSettings:
    """Limits of what clients may ask for."""

    jobs: Annotated[int | None, Limit(at_least=1)] = None
    """Recordings analysed at a time; by default one per processor."""
    queue: Annotated[int, Limit(at_least=0)] = 64
    """Requests that may wait for their turn; further ones are refused with status 503."""
    max_size: Annotated[float, Limit(above=0)] = 512.0
    """Largest upload in MB."""
    max_duration: Annotated[float, Limit(above=0, at_most=64_800)] = 7200.0
    """Longest recording in seconds; decoding stops there. At most 18 hours, as the page plays a WAV file."""
    time_limit: Annotated[float, Limit(above=0)] = 600.0
    """Seconds that a request may wait and compute."""
    upload_timeout: Annotated[float, Limit(above=0)] = 20.0
    """Seconds without a byte, or below 10 kB/s on average, after which an upload is given up."""
    connections: Annotated[int, Limit(at_least=1)] = 256
    """Connections at a time."""
    streams: Annotated[int, Limit(at_least=1)] = 8
    """Live streams at a time."""
    stream_timeout: Annotated[float, Limit(above=0)] = 60.0
    """Seconds without samples after which a live stream is closed."""
    hold: Annotated[float, Limit(above=0)] = 1800.0
    """Seconds after its last use for which a recording of the page is held."""
    max_held: Annotated[float, Limit(above=0)] = 4096.0
    """MB on disk of all held recordings; beyond it, the least recently used ones are dropped."""

    def __post_init__(self) -> None:
        check_settings(self)
