"""Labels and thresholds as the command line takes them: joined by commas, or in files that people edit."""

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, TextIO

from earmark.cli.flags import split_words
from earmark.errors import DataError
from earmark.labels import LabelSet, normal_label
from earmark.storage.text_files import read_lines

_SEPARATORS: Final = ",;\t"
_COLUMNS: Final = ("label", "threshold")


def labels_in(text: str, known: LabelSet) -> tuple[str, ...]:
    """Labels of a list joined by commas; names of labels may contain commas themselves.

    Raises:
        DataError: The list is empty, or ambiguous.
    """
    words = tuple(map(normal_label, split_words(text)))
    if not words:
        raise DataError(f"labels: expected names joined by commas, got {text!r}")
    plain = {",".join(part.strip() for part in name.split(",")): name for name in known.names}
    longest = 1 + max(name.count(",") for name in plain)
    names: list[str] = []
    while words:
        n_words = next((n for n in range(min(longest, len(words)), 1, -1) if ",".join(words[:n]) in plain), 1)
        if n_words > 1 and all(word in known for word in words[:n_words]):
            name = plain[",".join(words[:n_words])]
            raise DataError(f"labels: {name!r} is ambiguous: {', '.join(words[:n_words])} are labels too; give ids")
        names.append(plain[",".join(words[:n_words])] if n_words > 1 else words[0])
        words = words[n_words:]
    return tuple(names)


def read_labels(path: Path) -> tuple[str, ...]:
    """The labels of a file: one a line, or the column `label` of a table, such as a file of thresholds.

    Raises:
        DataError: The file cannot be read, or holds no label.
    """
    from earmark.data.tables import read_csv_table

    lines = [line.strip() for line in read_lines(path)]
    first = lines[0] if lines else ""
    separator = next((mark for mark in _SEPARATORS if mark in first), None)
    if separator is not None and "label" in first.lower().split(separator):
        found = [row["label"] for _, row in read_csv_table(path, ("label",), separators=_SEPARATORS)]
    else:
        found = [line for line in lines if line and (line != first or line.lower() != "label")]
    labels = tuple(dict.fromkeys(label for label in found if label))
    if not labels:
        raise DataError(f"{path}: a file with one label a line was expected, it holds none")
    return labels


def read_thresholds(path: Path) -> dict[str, float]:
    """The threshold of each label in a table with the columns `label` and `threshold`.

    Decimal commas are accepted, as spreadsheets write them.

    Raises:
        DataError: The file cannot be read, a label is repeated, or a threshold is no score; the text names the line.
    """
    from earmark.data.tables import read_csv_table

    thresholds: dict[str, float] = {}
    for number, row in read_csv_table(path, _COLUMNS, separators=_SEPARATORS):
        label, text = (row[name] for name in _COLUMNS)
        try:
            score = float(text.replace(",", "."))
        except ValueError:
            score = -1.0
        if not 0 <= score <= 1:
            raise DataError(f"{path}, line {number}, column threshold: a score from 0 to 1 was expected, not {text!r}")
        if label in thresholds:
            raise DataError(f"{path}, line {number}: {label!r} has a threshold already")
        thresholds[label] = score
    if not thresholds:
        raise DataError(f"{path}: a line for each label was expected, there is none; `earmark thresholds` writes them")
    return thresholds


def check_labels(path: Path, named: Iterable[str], labels: LabelSet) -> None:
    """Checks that a model knows the labels of a file.

    Raises:
        DataError: It does not know one; the text names the file.
    """
    for label in named:
        if label not in labels:
            try:
                labels.index(label)
            except DataError as error:
                raise DataError(f"{path}: {error}") from None


def write_thresholds(thresholds: Mapping[str, float], stream: TextIO) -> None:
    """Writes a table that `read_thresholds` reads."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows((label, f"{score:.6g}") for label, score in thresholds.items())
