"""Runs side by side, each in a process of its own, which saves its run when it has to stop."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from earmark.errors import EarmarkError
from earmark.parallel.pool import Death, Pool, Reporter
from earmark.parallel.processors import n_processors
from experiments.table1.lines import Line
from experiments.table1.plan import Run, read_plan


def side_by_side(
    out: Path, runs: Sequence[Run], n_jobs: int, note: Callable[[str], None] = lambda text: None
) -> Generator[tuple[Run, Line | str]]:
    """Yields each run when it ends, with its line or the reason why it failed.

    The table's folder `out` has its plan and soundscapes. When closed or interrupted, this calls `note` with a message
    and waits until the unfinished runs are saved; a second Ctrl-C kills them.
    """
    # a new process for each run: no memory of one run is left to the next
    pool = Pool(n_jobs, is_renewed=True, n_threads=max(1, n_processors() // n_jobs), grace=None)
    results = pool.run(
        partial(_perform, out=out, n_jobs=n_jobs),
        runs,
        on_stop=lambda n_runs: note(f"stopping; {n_runs} runs under way are saved first"),
    )
    with closing(results):
        for run, result in results:
            yield run, _reason(result) if isinstance(result, Death) else result


def _perform(run: Run, report: Reporter, out: Path, n_jobs: int) -> Line | str:
    try:
        from experiments.table1.runs import perform

        return perform(out, read_plan(out), run, n_beside=n_jobs)
    except Exception as error:  # the other runs continue
        return failure(error)


def _reason(death: Death) -> str:
    hint = "; is there enough memory for so many runs at a time?" if death.exit_code < 0 else ""
    return f"its process {death.reason}{hint}"


def failure(error: Exception) -> str:
    """One line about why a run failed, with the error's class unless the error is meant for users."""
    text = (str(error).splitlines() or [""])[0]
    return text if isinstance(error, EarmarkError | OSError) else f"{type(error).__name__}: {text}"
