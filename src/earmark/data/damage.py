"""Unreadable rows and files of a source: the first is an error, or all are collected."""

from pathlib import Path

from earmark.errors import DataError


class DamageError(DataError):
    """A part of a source, such as a row or a file, cannot be read; other parts may be fine."""

    def __init__(self, place: str, name: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.name = name
        """Name of the part without the source's folder, so that reports do not reveal local paths."""
        self.reason = reason


class RowError(DamageError):
    """A row of a table that cannot be read."""

    def __init__(self, table: Path, number: int, reason: str) -> None:
        super().__init__(f"{table}, row {number}", f"{table.name}, row {number}", reason)


class Damage:
    """Collects the unreadable parts of a source if `lenient`, else raises the first."""

    def __init__(self, lenient: bool) -> None:
        self._lenient = lenient
        self.found: list[tuple[str, str]] = []
        """Name and reason of each unreadable part."""

    def add(self, error: DamageError) -> None:
        """Collects an unreadable part.

        Raises:
            DamageError: `error` itself, unless lenient.
        """
        if not self._lenient:
            raise error
        self.found.append((error.name, error.reason))

    def summary(self) -> str:
        """An error suffix that counts the unreadable parts and names the first; empty if there are none."""
        if not self.found:
            return ""
        (name, reason), n = self.found[0], len(self.found)
        return f"; {n} rows or files cannot be read, first {name}: {reason}"
