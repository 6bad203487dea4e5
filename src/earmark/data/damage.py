"""Rows and files of a source that cannot be read: an error, or told beside the others."""

from pathlib import Path

from earmark.errors import DataError


class DamageError(DataError):
    """A part of a source that cannot be read, while other parts may be."""

    def __init__(self, place: str, name: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.name = name
        """Of the part, without the folder in which the source lies, which is nobody's business."""
        self.reason = reason


class RowError(DamageError):
    """A row of a table that cannot be read."""

    def __init__(self, table: Path, number: int, reason: str) -> None:
        super().__init__(f"{table}, row {number}", f"{table.name}, row {number}", reason)


class Damage:
    """What cannot be read of a source, for a reader that goes on where it may."""

    def __init__(self, lenient: bool) -> None:
        self._lenient = lenient
        self.found: list[tuple[str, str]] = []
        """The name of each part that was met, and the reason."""

    def meet(self, error: DamageError) -> None:
        """Keeps what was met.

        Raises:
            DamageError: That one, where the reader is not to be lenient.
        """
        if not self._lenient:
            raise error
        self.found.append((error.name, error.reason))

    def told(self) -> str:
        """What was met first, to stand behind the words that nothing is left; empty where nothing was met."""
        if not self.found:
            return ""
        (name, reason), n = self.found[0], len(self.found)
        return f"; {n} rows or files cannot be read, the first is {name}: {reason}"
