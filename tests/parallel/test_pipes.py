"""Pipes between threads."""

import os
import subprocess
import sys
import threading

import pytest

from earmark.parallel.pipes import close_end, feed_pipe

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FORKED = """
import os, threading
from earmark.parallel.pipes import close_end, feed_pipe

gate = threading.Event()

def pieces():
    yield b"first"
    gate.wait()
    yield b"last"

end = feed_pipe(pieces())
assert os.read(end, 5) == b"first"
child = os.fork()
if not child:
    assert os.read(end, 5) == b""  # no thread of this process feeds it
    os.read(int(os.environ["WAIT"]), 1)  # lives until the other process has read all
    os._exit(0)
gate.set()
assert os.read(end, 5) == b"last" and os.read(end, 5) == b""
close_end(end)
close_end(end)
print("done", flush=True)
"""


def test_a_forked_process_keeps_no_pipe_open() -> None:
    waiting, release = os.pipe()
    command = [sys.executable, "-W", "ignore", "-c", FORKED]
    environment = {**os.environ, "WAIT": str(waiting)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[waiting], env=environment)
    try:
        assert process.stdout is not None
        killer = threading.Timer(60, process.kill)
        killer.start()
        assert process.stdout.readline() == "done\n", "the reader waits for the end of a pipe that a fork keeps open"
        killer.cancel()
    finally:
        os.close(release)
        os.close(waiting)
        process.kill()
        process.communicate()


def test_a_reader_may_close_early() -> None:
    n_before = threading.active_count()
    end = feed_pipe(bytes(1 << 16) for _ in range(100))
    assert os.read(end, 4) == bytes(4)
    close_end(end)
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.daemon and thread.name.endswith("(_feed)"):
            thread.join(60)
    assert threading.active_count() <= n_before
