"""`earmark models`: the models that are loaded by name."""

import re
import sys
from collections.abc import Iterator

from earmark.cli import screen
from earmark.cli.flags import AsJson
from earmark.hub.published import PUBLISHED, SHIPPED, NamedModel

_ALL = {**SHIPPED, **PUBLISHED}
HEADINGS = ("name", "labels", "mAP", "source of the mAP", "parameters", "multiplications", "size", "licence")
"""Columns of the table; multiplications are those for 10 s of sound."""


def models(*, json: AsJson = False) -> None:
    """List the models that --model and --init take by name."""
    if json:
        screen.write_json([_as_json(name, model) for name, model in _ALL.items()])
        return
    found = zip(rows(), _ALL.values(), strict=True)
    shown = [tuple(re.sub(r"\[(.*)\]\(.*\)", r"\1", cell) for cell in (*row, _place(model))) for row, model in found]
    screen.table_console(sys.stdout).print(screen.table(shown, *HEADINGS, "place"))


def rows() -> Iterator[tuple[str, ...]]:
    """The cells of each model, with links as in Markdown."""
    for name, model in _ALL.items():
        yield (
            name,
            f"{model.labels} ({model.n_labels})",
            f"{model.mAP:.3f}",
            model.source,
            f"{model.n_parameters / 1e6:.2f} M",
            f"{model.n_multiplications / 1e9:.2f} G",
            f"{model.n_bytes / 1e6:.0f} MB",
            model.licence,
        )


def _place(model: NamedModel) -> str:
    if model.file is None:
        return "in the package"
    return "cached" if model.path() else "to download"


def _as_json(name: str, model: NamedModel) -> dict[str, object]:
    path = model.path()
    return {
        "name": name,
        "labels": model.labels,
        "n_labels": model.n_labels,
        "mAP": model.mAP,
        "source": model.source,
        "n_parameters": model.n_parameters,
        "n_multiplications": model.n_multiplications,
        "n_bytes": model.n_bytes,
        "licence": model.licence,
        "url": None if model.file is None else model.file.url,
        "path": None if path is None else str(path),
    }
