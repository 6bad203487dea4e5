"""What the commands that take DATA share: which clips of it, with which labels."""

from dataclasses import replace

from earmark.data import Dataset, open_data
from earmark.errors import DataError
from earmark.labels import ESC10


def select(data: str, splits: str | None = None, labels: str | None = None, lenient: bool = False) -> Dataset:
    """The clips of some splits with at least one of some labels.

    Args:
        data: A source and a path, such as `esc50:DIR`.
        splits: Names of splits joined by commas.
        labels: Names or ids of labels joined by commas, or `esc10`.
        lenient: As in `open_data`.

    Raises:
        DataError: There is no such source, split or label, or nothing is left.
    """
    dataset = open_data(data, lenient)
    if splits is None and labels is None:
        return dataset
    names = ESC10 if labels == "esc10" else _words("labels", labels)
    selected = dataset.select(splits=_words("split", splits), labels=names)
    # a report of these clips says which they were
    chosen = [f"{name} {text}" for name, text in (("split", splits), ("labels", labels)) if text is not None]
    return replace(selected, name=f"{dataset.name} ({'; '.join(chosen)})")


def _words(name: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise DataError(f"{name}: names joined by commas were expected, not {text!r}")
    return words
