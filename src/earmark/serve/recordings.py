"""Recordings on the server: each serves one request, or is held for a page."""

import logging
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException

from earmark.audio.recording import AUDIO_SUFFIXES, probe
from earmark.errors import AudioError
from earmark.inference.encoded import Encoded
from earmark.inference.tagger import Tagger
from earmark.inference.timeline import Timeline
from earmark.serve.pyramid import Pyramid
from earmark.serve.queries import TimelineQuery
from earmark.serve.uploads import MB, named
from earmark.storage.files import atomic_write
from earmark.storage.recent_values import RecentValues

_LOG: Final = logging.getLogger(__name__)
_TIMELINE_BYTES: Final = 256 * MB
"""Size of the scores of all timelines that are kept; the latest one stays."""
_MOST_HELD: Final = 500
"""Maximum number of held recordings: short ones would never reach the limit in bytes."""


Timelines = RecentValues[tuple[str, str, TimelineQuery], Timeline]
"""Timelines by recording, model and settings."""


class Recording:
    """An upload in a private folder, with what has been computed from it.

    Args:
        folder: The folder, which `remove` deletes.
        max_duration: Seconds; decoding stops there.
        timelines: Keeps timelines of all recordings.
        count: Called with the seconds of sound that a model has encoded.
    """

    def __init__(
        self, folder: Path, max_duration: float, timelines: Timelines, count: Callable[[float], object]
    ) -> None:
        self.folder, self.path = folder, folder / "recording"
        self.id = secrets.token_urlsafe(16)
        self.name = "recording"
        self.used = time.monotonic()
        self.pyramid: Pyramid | None = None
        self.error: str | None = None
        """Why the recording cannot be shown."""
        self.error_status = 422
        """HTTP status of `error`."""
        self.seconds = {"decoded": 0.0, "encoded": 0.0}
        """Progress."""
        self._max_duration = max_duration
        self._lock = threading.Lock()
        self._encoded: dict[str, Encoded] = {}
        self._timelines, self._count = timelines, count
        self._removed = threading.Event()

    @property
    def n_bytes(self) -> int:
        """Size on disk."""
        with suppress(OSError):
            return sum(path.stat().st_size for path in self.folder.iterdir())
        return 0

    def check_length(self) -> None:
        """Checks the length that the header states.

        Raises:
            AudioError: The recording cannot be read.
            HTTPException: It is too long.
        """
        with named(self.path, self.name):
            self._check_duration(probe(self.path).duration or 0.0)

    def encoded(self, model: str, tagger: Tagger, stop: threading.Event) -> Encoded:
        """The segments, which are computed once.

        Raises:
            AudioError: The recording cannot be read.
            HTTPException: It is too long.
            CancelledError: `stop` is set, or the recording is removed.
        """
        with self._lock:
            self.check_goes_on(stop)
            if model not in self._encoded:
                self.check_length()
                with named(self.path, self.name):
                    self._encoded[model] = tagger.encode(self.path, progress=self._progress("encoded", stop))
                self._count(self._encoded[model].duration)
            return self._encoded[model]

    def timeline(self, model: str, tagger: Tagger, query: TimelineQuery, stop: threading.Event) -> Timeline:
        """The timeline; the most recent ones are kept.

        Raises:
            Exception: One of those of `encoded` or `Tagger.timeline`.
        """
        key = (self.id, model, query)
        known = self._timelines.get(key)
        if known is not None:
            return known
        made = tagger.timeline(self.encoded(model, tagger, stop), **asdict(query))
        return self._timelines.add(key, made, made.scores.nbytes)

    def show(self, stop: threading.Event) -> None:
        """Decodes the recording for the page and sets `pyramid` or `error`.

        Raises:
            CancelledError: `stop` is set, or the recording is removed.
        """
        try:
            self.check_length()
            with named(self.path, self.name):
                self.pyramid = Pyramid.of(self.path, self.folder, self._progress("decoded", stop))
        except AudioError as error:
            self.error = str(error)
        except HTTPException as error:
            self.error_status = error.status_code
            self.error = error.detail
        except CancelledError:
            raise
        except Exception:
            self.check_goes_on(stop)
            _LOG.exception("a recording cannot be decoded")
            # a page that asks for the state must not wait forever; the error ends its wait, so it is set last
            self.error_status = 500
            self.error = f"{self.name}: the server failed to decode it; its log says why"

    def check_goes_on(self, stop: threading.Event) -> None:
        """Raises CancelledError if the request has ended or the recording is removed."""
        if stop.is_set() or self._removed.is_set():
            raise CancelledError

    def _progress(self, kind: str, stop: threading.Event) -> Callable[[float], None]:
        def report(seconds: float) -> None:
            self.check_goes_on(stop)
            self._check_duration(seconds)
            self.seconds[kind] = seconds

        return report

    def _check_duration(self, seconds: float) -> None:
        if seconds > self._max_duration:
            raise HTTPException(
                413, f"{self.name}: a recording of up to {self._max_duration:g} s was expected; send it in parts"
            )

    def remove(self) -> None:
        """Deletes the folder and stops all work on it."""
        self._removed.set()
        shutil.rmtree(self.folder, ignore_errors=True)


class Shelf:
    """The uploads of the server, and those that it holds.

    Args:
        max_duration: Seconds; decoding stops there.
        hold: Seconds after their last use for which recordings are held.
        max_held: MB on disk of all held recordings.
        count: Called with the seconds of sound that a model has encoded.
        keep: Folder that receives a copy of every upload; None for none.
    """

    def __init__(
        self,
        max_duration: float,
        hold: float,
        max_held: float,
        count: Callable[[float], object],
        keep: Path | None = None,
    ) -> None:
        self._max_duration, self._hold, self._max_held = max_duration, hold, max_held
        self._count, self._keep = count, keep
        self._root = tempfile.TemporaryDirectory(prefix="earmark-serve-", ignore_cleanup_errors=True)
        self._held: dict[str, Recording] = {}
        self._timelines: Timelines = RecentValues(n_bytes=_TIMELINE_BYTES)

    def __len__(self) -> int:
        return len(self._held)

    def new(self) -> Recording:
        """A recording in a new folder; the caller writes its file."""
        folder = Path(tempfile.mkdtemp(dir=self._root.name))
        return Recording(folder, self._max_duration, self._timelines, self._count)

    def hold(self, recording: Recording) -> None:
        """Holds a recording; drops the least recently used ones if all take too much space."""
        self._held[recording.id] = recording
        self.tidy()

    def held(self, name: str) -> Recording:
        """The held recording with this id.

        Raises:
            HTTPException: No held recording has this id.
        """
        recording = self._held.get(name)
        if recording is None:
            raise HTTPException(404, f"no recording has this id; it is dropped {self._hold:g} s after its last use")
        recording.used = time.monotonic()
        return recording

    def drop(self, name: str) -> None:
        """Removes a held recording.

        Raises:
            HTTPException: No held recording has this id.
        """
        self.held(name)
        self._forget(name)

    def tidy(self) -> None:
        """Drops recordings unused for long, and the least recently used ones if the rest take too much space."""
        now = time.monotonic()
        by_use = sorted(self._held.values(), key=lambda recording: recording.used)
        total, n_left = sum(recording.n_bytes for recording in by_use), len(by_use)
        for recording in by_use:
            is_last = recording is by_use[-1]
            has_room = total <= self._max_held * MB and n_left <= _MOST_HELD
            if now - recording.used <= self._hold and (is_last or has_room):
                break
            total, n_left = total - recording.n_bytes, n_left - 1
            self._forget(recording.id)

    def _forget(self, name: str) -> None:
        # a thread may tidy up at the same time
        recording = self._held.pop(name, None)
        if recording is not None:
            recording.remove()

    def keep(self, recording: Recording) -> None:
        """Copies an upload under a new name into the folder `keep`, if there is one.

        Raises:
            OSError: The copy cannot be written.
        """
        if self._keep is None:
            return
        suffix = Path(recording.name).suffix.lower()
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        target = self._keep / f"{moment}-{secrets.token_hex(4)}{suffix if suffix in AUDIO_SUFFIXES else ''}"
        with atomic_write(target) as temporary:
            shutil.copyfile(recording.path, temporary)

    def close(self) -> None:
        """Removes all recordings and their folder."""
        for name in list(self._held):
            self._forget(name)
        self._root.cleanup()
