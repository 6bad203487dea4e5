"""Makes Table 1: soundscapes, runs (one at a time or in parallel) and pages."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from earmark.data.clips import Dataset
from earmark.errors import ConfigError, DataError
from earmark.parallel.interrupts import sigterm_as_interrupt
from earmark.storage.files import atomic_write
from earmark.storage.locks import alone
from experiments.jobs import failure, side_by_side
from experiments.table1.lines import Line, append_line, done_runs, read_lines
from experiments.table1.pages import ablations_page, comparisons, table1_page
from experiments.table1.plan import Run, TablePlan, read_plan
from experiments.table1.soundscapes import n_recordings, n_soundscapes, open_part, render_part, unrendered

Progress = Callable[[int, int], None]
Print = Callable[[str], None]
Show = Callable[[str], AbstractContextManager[Progress]]
"""From the name of some work to a context that shows its progress."""


@dataclass(frozen=True)
class Outcome:
    """Result of a call of `make_table`."""

    n_done: int
    """Number of finished runs, those of earlier calls included."""
    failed: tuple[tuple[Run, str], ...]
    """Failed runs and the reasons."""
    tables: tuple[Path, ...]


def make_table(
    out: Path,
    plan: TablePlan,
    bank: Dataset,
    runs: Sequence[Run],
    *,
    n_jobs: int = 1,
    show: Show = lambda doing: nullcontext(lambda done, total: None),
    report: Print = lambda text: None,
    report_failure: Print = lambda text: None,
    training_progress: bool = False,
) -> Outcome:
    """Mixes the soundscapes, does the remaining runs and writes the tables.

    Each finished run is written to `runs.jsonl` at once. Interrupted at any time, the same call resumes.

    Args:
        out: The table's folder.
        plan: The plan of the table.
        bank: The sounds, as `make_plan` returned them.
        runs: Runs of the plan, in their order.
        n_jobs: Number of parallel runs, each in its own process; 1 uses this process.
        show: Shows progress.
        report: Called with a line of text when a run is done.
        report_failure: Called with a line of text when a run has failed; the others continue.
        training_progress: Whether a run in this process draws its own progress bar.

    Raises:
        ConfigError: `out` holds another table or other files.
        DataError: The bank is unsuitable, a file of the table is damaged, or another process is at work there.
        KeyboardInterrupt: Ctrl-C or SIGTERM; unfinished runs were saved.
    """
    if n_jobs < 1:
        raise ConfigError(f"n_jobs: 1 or more was expected, not {n_jobs}")
    plan.check(out)
    out.mkdir(parents=True, exist_ok=True)
    with alone(out), sigterm_as_interrupt():
        plan.claim(out)  # after taking the lock, so that a refused call does not change the plan
        done = done_runs(out, read_lines(out / "runs.jsonl"))
        todo = [run for run in runs if run not in done]
        try:
            _prepare(out, plan, bank, sorted({run.difficulty for run in todo}), show)
            if n_jobs > 1 and len(todo) > 1:
                n_jobs = min(n_jobs, len(todo))
                ending = side_by_side(partial(_perform, out=out, n_jobs=n_jobs), todo, n_jobs, report)
            else:
                ending = _one_by_one(out, plan, todo, training_progress)
            failed = _write_down(out, ending, len(todo), report, report_failure)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped, all work is saved in {out}: the same command resumes") from None
        tables = write_tables(out) if len(done) + len(todo) > len(failed) else ()
    return Outcome(len(runs) - len(failed), failed, tables)


def _write_down(
    out: Path, ending: Generator[tuple[Run, Line | str]], n_runs: int, report: Print, report_failure: Print
) -> tuple[tuple[Run, str], ...]:
    """Appends a line for each finished run; returns the failed runs with the reasons."""
    n_done, failed = 0, list[tuple[Run, str]]()
    with closing(ending):
        for run, result in ending:
            if isinstance(result, Line):
                append_line(out / "runs.jsonl", result)
                n_done += 1
                report(f"{run}: {_brief(result)}; {n_runs - n_done - len(failed)} runs left")
            else:
                failed.append((run, result))
                report_failure(f"{run}: {result}")
    return tuple(failed)


def write_tables(out: Path) -> tuple[Path, ...]:
    """Writes `table1.md` and `ablations.md` from `runs.jsonl` and the scores, and returns their paths.

    Raises:
        DataError: No run is finished, a file is damaged, or runs do not belong together.
    """
    lines = read_lines(out / "runs.jsonl")
    if not lines:
        raise DataError(
            f"{out}: no finished run there (runs.jsonl), a table needs one; `python -m experiments table1` trains them"
        )
    compared = comparisons(out, lines)
    pages = {
        "table1.md": table1_page(lines, compared, _recordings(out, lines)),
        "ablations.md": ablations_page(lines, compared),
    }
    for name, text in pages.items():
        with atomic_write(out / name) as path:
            path.write_text(text, encoding="utf-8")
    return tuple(out / name for name in pages)


def _recordings(out: Path, lines: Sequence[Line]) -> dict[str, str]:
    """By difficulty, the number and fold of the recordings in its test soundscapes, where their list exists."""
    found = {}
    with suppress(ConfigError):
        splits = ", ".join(read_plan(out).test_splits)
        for line in lines:
            if (n := n_recordings(out, line.difficulty, "test", line.test_ids_sha256)) is not None:
                found[line.difficulty] = f"{n} recordings of fold {splits}"
    return found


def _prepare(out: Path, plan: TablePlan, bank: Dataset, difficulties: Sequence[str], show: Show) -> None:
    """Mixes the soundscapes and computes the shared log-mels of the difficulties."""
    from experiments.table1.runs import share_features

    for difficulty, part in unrendered(plan, out):
        if difficulty in difficulties:
            with show(f"mixing {n_soundscapes(plan, part)} {difficulty} {part} soundscapes") as progress:
                render_part(plan, bank, out, difficulty, part, progress)
    for difficulty in difficulties:
        for part in ("train", "valid"):
            with show(f"log-mels, {difficulty} {part}") as progress:
                share_features(plan, out, open_part(plan, out, difficulty, part), progress)


def _perform(run: Run, out: Path, n_jobs: int) -> Line:
    from experiments.table1.runs import perform

    return perform(out, read_plan(out), run, n_beside=n_jobs)


def _one_by_one(
    out: Path, plan: TablePlan, runs: Sequence[Run], training_progress: bool
) -> Generator[tuple[Run, Line | str]]:
    from experiments.table1.runs import perform

    for run in runs:
        try:
            result: Line | str = perform(out, plan, run, progress=training_progress)
        except Exception as error:  # the other runs continue; this one is reported
            result = failure(error)
        yield run, result


def _brief(line: Line) -> str:
    score = "no mAP" if line.mAP is None else f"mAP {line.mAP:.3f}"
    return f"{score}, {line.seconds / 60:.1f} min at {line.clips_per_second:.0f} clips/s"
