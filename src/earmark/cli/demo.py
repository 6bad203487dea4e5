"""`earmark demo`: trains and explains a tagger on synthetic sounds."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from earmark.cli.screen import AsJson, Quiet, table_console, write_json

_OUT = Path("demo")


def demo(
    *,
    out: Path = _OUT,
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train, evaluate and explain a tagger on synthetic sounds; downloads nothing.

    Args:
        out: Folder for the scene, the figure and the networks.
        seed: Random seed of sounds, clips and training.
        json: Print the results as JSON.
        quiet: Print only errors on standard error.
    """
    from earmark.demo import run_demo

    result = run_demo(out, seed, progress=not quiet)
    if json:
        write_json(result.to_json())
    else:
        result.show(table_console(sys.stdout))
