"""The program `earmark`, also as `python -m earmark`."""

import gc
import os
import signal
import sys
from types import FrameType


def run() -> int:
    """Runs one command and returns its exit status."""
    _open_closed_streams()
    # the import takes a quarter of a second; a KeyboardInterrupt within it might be printed or lost by any module
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if is_default:
        signal.signal(signal.SIGINT, _stop)
    from earmark.cli import main

    if is_default:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    status = main()
    gc.freeze()  # otherwise Python searches all objects for unreachable ones when it exits, which takes 0.1 s
    return status


def _open_closed_streams() -> None:
    """Opens the null device for each standard stream that the caller closed.

    Otherwise a file opened later would get its descriptor, and writing would fail.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


def _stop(number: int, frame: FrameType | None) -> None:
    os.write(2, b"error: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    sys.exit(run())
