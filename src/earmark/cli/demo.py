"""`earmark demo`: trains and explains a tagger on synthetic sounds."""

import sys
from pathlib import Path
from typing import Annotated

from earmark.cli.flags import FOLDER, AsJson, Quiet
from earmark.cli.screen import table_console, write_json
from earmark.errors import Limit


def demo(
    *,
    out: Annotated[Path, FOLDER] = Path("demo"),
    seed: Annotated[int, Limit(at_least=0)] = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Train, evaluate and explain a tagger on synthetic sounds; downloads nothing.

    Args:
        out: Folder for the scene, the figure and the networks.
        seed: Random seed of sounds, clips and training.
    """
    from earmark.demo import run_demo

    result = run_demo(out, seed, progress=not quiet)
    if json:
        write_json(result.to_json())
    else:
        result.show(table_console(sys.stdout))
