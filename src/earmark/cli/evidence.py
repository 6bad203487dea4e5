"""`earmark evidence`: which moments of a recording made a tag."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from earmark import hub
from earmark.cli.screen import AsJson, bar, paper, rounded, write_json
from earmark.tagger import Evidence


def evidence(
    file: Path,
    label: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    model: str = hub.DEFAULT_MODEL,
    format: Literal["table", "json"] = "table",
    json: AsJson = False,
) -> None:
    """Show which moments of a recording made a tag: how far its logit falls when a moment is left out.

    Args:
        file: A recording.
        label: Name or id of a label.
        model: A .safetensors checkpoint.
        format: A table for people, or JSON.
        json: Short for --format json.
    """
    result = hub.load(model).evidence(file, label)
    if json or format == "json":
        _write_json(str(file), result)
    else:
        _write_table(str(file), result)


def _write_table(file: str, evidence: Evidence) -> None:
    console = paper(sys.stdout)
    console.print(f"{file}  {evidence.label}", style="bold", soft_wrap=True)
    weights = evidence.weights.tolist()
    largest = max(map(abs, weights)) or 1.0
    table = Table.grid(padding=(0, 2))
    for onset, offset, weight in zip(evidence.onsets, evidence.offsets, weights, strict=True):
        strength = Text(bar(abs(weight) / largest), style="green" if weight > 0 else "red")
        table.add_row("", f"{onset:.1f} - {offset:.1f} s", f"{weight:+.3f}", strength)
    console.print(table)


def _write_json(file: str, evidence: Evidence) -> None:
    attention = evidence.attention
    write_json(
        {
            "file": file,
            "label": evidence.label,
            "onsets": [rounded(onset) for onset in evidence.onsets.tolist()],
            "offsets": [rounded(offset) for offset in evidence.offsets.tolist()],
            "weights": [rounded(weight) for weight in evidence.weights.tolist()],
            "attention": None if attention is None else [[rounded(w) for w in head] for head in attention.tolist()],
        }
    )
