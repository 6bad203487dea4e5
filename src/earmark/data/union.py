"""One data set of several, such as a training set and the corrections of a review."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from earmark.data.clips import Clip, Dataset
from earmark.labels import LabelSet


def unite(datasets: Sequence[Dataset]) -> Dataset:
    """The clips of all data sets; a label that a data set lacks is unknown in its clips. One data set stays as it is.

    Labels are matched by name and keep the order of their first appearance. A clip whose id is taken gets the name of
    its data set before its id, as often as it takes.

    Args:
        datasets: One or more.

    Raises:
        DataError: Labels of different names have the same id.
    """
    if len(datasets) == 1:
        return datasets[0]
    ids: dict[str, str] = {}
    for dataset in datasets:
        for name, id_ in zip(dataset.labels.names, dataset.labels.ids, strict=True):
            ids.setdefault(name, id_)
    labels = LabelSet(tuple(ids), tuple(ids.values()))
    first = datasets[0]
    name = " + ".join(dataset.name for dataset in datasets)
    return replace(
        first,
        name=name,
        labels=labels,
        clips=tuple(_clips(datasets, len(labels))),
        missing=tuple(id_ for dataset in datasets for id_ in dataset.missing),
        missing_splits=(),
        outside=tuple(lost for dataset in datasets for lost in dataset.outside),
        damaged=tuple(part for dataset in datasets for part in dataset.damaged),
    )


def _clips(datasets: Sequence[Dataset], n_labels: int) -> Iterator[Clip]:
    seen: set[str] = set()
    for dataset in datasets:
        names = dataset.labels.names if len(dataset.labels) < n_labels else None
        for clip in dataset:
            id_ = clip.id
            while id_ in seen:
                id_ = f"{dataset.name}/{id_}"
            seen.add(id_)
            yield replace(clip, id=id_, known=names if clip.known is None else clip.known)
