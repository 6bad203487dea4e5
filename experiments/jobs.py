"""Runs side by side, each in a Python process of its own.

The parent starts a process with its run on the command line and reads one line of JSON from it. It asks the process to
stop by closing its standard input, which happens too when the parent dies: the run is then saved, and no process is
left behind. Processes have sessions of their own, so that a Ctrl-C reaches the parent alone and none is stopped twice.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from earmark.errors import DataError
from experiments.table1.lines import Line
from experiments.table1.plan import Run, read_plan

_POLL_SECONDS: Final = 0.1


def side_by_side(
    out: Path, runs: Sequence[Run], n_jobs: int, tell: Callable[[str], None] = lambda text: None
) -> Generator[tuple[Run, Line | str]]:
    """Each run as it ends, with its line, or with why there is none.

    Closed or interrupted, it waits until the runs under way are saved; interrupted once more, it ends them at once.

    Args:
        out: The table's folder, with plan and soundscapes.
        runs: What to do, in this order.
        n_jobs: How many at a time.
        tell: Told when there is something to wait for before the end.
    """
    waiting = deque(runs)
    working: dict[subprocess.Popen[str], Run] = {}
    try:
        while waiting or working:
            while waiting and len(working) < n_jobs:
                run = waiting.popleft()
                working[_start(out, run, n_jobs)] = run
            for process in [process for process in working if process.poll() is not None]:
                # no longer among the working when the caller has the result
                run = working.pop(process)
                yield run, _result(process)
            time.sleep(_POLL_SECONDS)
    finally:
        if working:
            tell(f"stopping; {len(working)} runs under way are saved first")
            _stop(list(working))


def _start(out: Path, run: Run, n_jobs: int) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "experiments.jobs", str(out), json.dumps(run), str(n_jobs)]
    return subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8", start_new_session=True
    )


def _result(process: subprocess.Popen[str]) -> Line | str:
    told, _ = process.communicate()
    with suppress(ValueError, DataError):
        answer = json.loads(told)
        return str(answer["error"]) if "error" in answer else Line.from_json(answer)
    if process.returncode == -getattr(signal, "SIGKILL", 0):
        return "its process was killed; is there memory for so many at a time?"
    return f"its process ended with status {process.returncode} and no result"


def _stop(processes: Sequence[subprocess.Popen[str]]) -> None:
    try:
        for process in processes:
            if process.stdin is not None:
                process.stdin.close()
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        for process in processes:
            process.kill()
        raise
    finally:
        for process in processes:
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """While entered, SIGTERM is what Ctrl-C is, so that what must be saved is; in the main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def failure(error: Exception) -> str:
    """One line about why a run failed; with its kind, unless the error was meant for people to read."""
    from earmark.errors import EarmarkError

    text = (str(error).splitlines() or [""])[0]
    return text if isinstance(error, EarmarkError | OSError) else f"{type(error).__name__}: {text}"


def main(words: Sequence[str]) -> int:
    """What a process of `side_by_side` does."""
    answers, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed must not end up in the answer
    out, run, n_jobs = Path(words[0]), Run(*json.loads(words[1])), int(words[2])
    with sigterm_as_interrupt():
        threading.Thread(target=_stop_with_parent, daemon=True).start()
        try:
            import torch

            from earmark.parallel.processors import n_processors
            from experiments.table1.runs import perform

            torch.set_num_threads(max(1, n_processors() // n_jobs))
            answer = perform(out, read_plan(out), run, n_beside=n_jobs).to_json()
        except KeyboardInterrupt:
            return 130
        except Exception as error:  # whatever it is, the other runs go on and this one is told of
            answer = {"error": failure(error)}
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
    return 0


def _stop_with_parent() -> None:
    # not through sys.stdin: its lock, held by a thread that waits, would keep the interpreter from ending
    while os.read(0, 1024):
        pass
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
