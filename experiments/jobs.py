"""Runs side by side, each in a process of its own, which saves its run when it has to stop."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from typing import TypeVar

from earmark.errors import EarmarkError
from earmark.parallel.pool import Death, Pool, Reporter
from earmark.parallel.processors import n_processors

_Run = TypeVar("_Run")
_Line = TypeVar("_Line")


def side_by_side(
    perform: Callable[[_Run], _Line],
    runs: Sequence[_Run],
    n_jobs: int,
    note: Callable[[str], None] = lambda text: None,
    *,
    is_renewed: bool = True,
) -> Generator[tuple[_Run, _Line | str]]:
    """Yields each run when it ends, with its line or the reason why it failed.

    When closed or interrupted, this calls `note` with a message and waits until the unfinished runs are saved; a second
    Ctrl-C kills them.

    Args:
        perform: Does a run; it must pickle, like runs and lines.
        runs: The runs.
        n_jobs: Number of processes.
        note: Called with a line of text.
        is_renewed: Start a new process for each run, so that no memory of one run is left to the next.
    """
    pool = Pool(n_jobs, is_renewed=is_renewed, n_threads=max(1, n_processors() // n_jobs), grace=None)
    results = pool.run(
        partial(_perform, perform=perform),
        runs,
        on_stop=lambda n_runs: note(f"stopping; {n_runs} runs under way are saved first"),
    )
    with closing(results):
        for run, result in results:
            yield run, _reason(result) if isinstance(result, Death) else result


def _perform(run: _Run, report: Reporter, perform: Callable[[_Run], _Line]) -> _Line | str:
    try:
        return perform(run)
    except Exception as error:  # the other runs continue
        return failure(error)


def _reason(death: Death) -> str:
    hint = "; is there enough memory for so many runs at a time?" if death.exit_code < 0 else ""
    return f"its process {death.reason}{hint}"


def failure(error: Exception) -> str:
    """One line about why a run failed, with the error's class unless the error is meant for users."""
    text = (str(error).splitlines() or [""])[0]
    return text if isinstance(error, EarmarkError | OSError) else f"{type(error).__name__}: {text}"
