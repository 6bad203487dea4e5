"""The program `earmark`, also as `python -m earmark`."""

import gc
import sys

from earmark.cli import main


def run() -> int:
    """Runs one command and returns its exit status."""
    status = main()
    gc.freeze()  # otherwise Python searches all objects for unreachable ones when it exits, which takes 0.1 s
    return status


if __name__ == "__main__":
    sys.exit(run())
