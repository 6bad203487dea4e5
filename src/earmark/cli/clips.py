"""What the commands that take DATA share: which clips of it, with which labels."""

from earmark.data import Dataset, open_data
from earmark.errors import DataError
from earmark.labels import ESC10


def select(data: str, splits: str | None = None, labels: str | None = None) -> Dataset:
    """The clips of some splits with at least one of some labels.

    Args:
        data: A source and a path, such as `esc50:DIR`.
        splits: Names of splits joined by commas.
        labels: Names or ids of labels joined by commas, or `esc10`.

    Raises:
        DataError: There is no such source, split or label, or nothing is left.
    """
    dataset = open_data(data)
    if splits is None and labels is None:
        return dataset
    names = ESC10 if labels == "esc10" else _words("labels", labels)
    return dataset.select(splits=_words("split", splits), labels=names)


def _words(name: str, text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise DataError(f"{name}: names joined by commas were expected, not {text!r}")
    return words
