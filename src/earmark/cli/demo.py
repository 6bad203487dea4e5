"""`earmark demo`: the whole idea on made-up sounds."""

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
    """Show the whole idea on made-up sounds; nothing to download.

    Args:
        out: Folder that receives the scene, the picture and the networks.
        seed: Everything follows from it: sounds, clips, training.
        json: Print what came out as JSON.
        quiet: Nothing but errors on standard error.
    """
    from earmark.demo import run_demo

    result = run_demo(out, seed, progress=not quiet)
    if json:
        write_json(result.to_json())
    else:
        result.show(table_console(sys.stdout))
