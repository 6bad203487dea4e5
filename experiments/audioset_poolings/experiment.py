"""The whole experiment: the phases of the protocol, one after the other."""

import json
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from earmark.errors import ConfigError
from earmark.parallel.interrupts import sigterm_as_interrupt
from earmark.storage.differences import differences
from earmark.storage.json_files import json_value, write_json
from earmark.storage.locks import LOCK, alone
from experiments.audioset_poolings.clips import open_clips
from experiments.audioset_poolings.lines import Line, append_line, read_lines
from experiments.audioset_poolings.plan import Run, figures_file
from experiments.audioset_poolings.runs import Bench, Task, perform
from experiments.jobs import failure, side_by_side

Print = Callable[[str], None]
_FORMAT: Final = 1


@dataclass(frozen=True)
class Outcome:
    """Result of a call of `make`."""

    n_done: int
    """Number of finished runs among those asked for, those of earlier calls included."""
    failed: tuple[tuple[Run, str], ...]
    """Failed runs and the reasons."""


def make(
    bench: Bench,
    cells: Iterable[str] | None = None,
    *,
    report: Print = lambda text: None,
    report_failure: Print = lambda text: None,
) -> Outcome:
    """Does the remaining runs. Each finished run is written down at once; interrupted, the same call resumes.

    Args:
        bench: Folder of the experiment, new or started by the same call; its clips, protocol and number of parallel
            runs, each in its own process, or in this one if there is one at a time.
        cells: As for `Protocol.phases`.
        report: Called with a line of text when a run is done.
        report_failure: Called with a line of text when a run has failed; the others continue.

    Raises:
        ConfigError: The folder holds another experiment or other files, or there is no such cell.
        DataError: The clips cannot be read, a file is damaged, or another process is at work in the folder.
        KeyboardInterrupt: Ctrl-C or SIGTERM; unfinished runs were saved.
    """
    out, protocol = bench.out, bench.protocol
    phases = protocol.phases(cells)
    clips = open_clips(bench.places)
    record: dict[str, Any] = json_value({"format": _FORMAT, "protocol": protocol.to_json(), "clips": clips.facts()})
    check_folder(out, record)
    out.mkdir(parents=True, exist_ok=True)
    n_fit = len(clips.parts(protocol.valid_share, protocol.valid_seed)[0])
    failed: list[tuple[Run, str]] = []
    with alone(out), sigterm_as_interrupt():
        write_json(out / "plan.json", record)
        try:
            for number, phase in enumerate(phases, 1):
                tasks = _tasks(bench, phase, n_fit, len(clips.train), failed)
                n_left = len(tasks)
                with closing(_performed(bench, tasks, report)) as ending:
                    for task, result in ending:
                        n_left -= 1
                        if isinstance(result, Line):
                            append_line(out, result)
                            where = f"phase {number} of {len(phases)}, {n_left} left"
                            report(f"{task.run}: {_brief(result)}; {where}")
                        else:
                            failed.append((task.run, result))
                            report_failure(f"{task.run}: {result}")
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped, all work is saved in {out}: the same command resumes") from None
    return Outcome(sum(map(len, phases)) - len(failed), tuple(failed))


def remaining(bench: Bench, cells: Iterable[str] | None = None) -> list[list[Run]]:
    """The runs of each phase that are not finished yet; the clips are not needed.

    Raises:
        ConfigError: There is no such cell.
        DataError: A file of lines is damaged.
    """
    done = _done(bench.out)
    return [[run for run in phase if run not in done] for phase in bench.protocol.phases(cells)]


def check_folder(out: Path, record: Mapping[str, Any]) -> None:
    """Checks that `out` can be the folder of an experiment: new, empty, or with the same one.

    Raises:
        ConfigError: It holds another experiment, or other files.
    """
    path = out / "plan.json"
    if path.exists():
        try:
            theirs = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{path}: the plan of an experiment was expected, this is none ({error})") from error
        if differing := differences(_flat(theirs), _flat(record)):
            raise ConfigError(
                f"{out}: holds another experiment, these differ: {', '.join(differing)}; put them back or take "
                "another folder"
            )
    elif out.exists() and (not out.is_dir() or any(file.name != LOCK for file in out.iterdir())):
        raise ConfigError(f"{out}: a new folder or one with a plan.json was expected, this holds other files")


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    """Nested values by their dotted names, as JSON has them."""
    if not isinstance(values, Mapping):
        return {name: list(values) if isinstance(values, tuple) else values}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{name}.{key}" if name else key)
    return flat


def _done(out: Path) -> set[Run]:
    """The finished runs; a final one without its figures must be done again."""
    searched, final = read_lines(out / "search.jsonl"), read_lines(out / "runs.jsonl")
    return {line.run for line in searched} | {
        line.run for line in final if figures_file(out, line.cell, line.seed).is_file()
    }


def _tasks(bench: Bench, phase: Sequence[Run], n_fit: int, n_train: int, failed: list[tuple[Run, str]]) -> list[Task]:
    """The unfinished runs of a phase with their settings; those whose search has failed go to `failed`."""
    done = _done(bench.out)
    finished = [line.finished for line in read_lines(bench.out / "search.jsonl")]
    tasks = []
    for run in phase:
        if run in done:
            continue
        try:
            config = bench.protocol.config(run, finished, n_train if run.stage == "final" else n_fit)
            tasks.append(Task(run, config))
        except ConfigError as error:
            failed.append((run, str(error)))
    return tasks


def _performed(bench: Bench, tasks: Sequence[Task], report: Print) -> Generator[tuple[Task, Line | str]]:
    if bench.n_beside > 1 and len(tasks) > 1:
        yield from side_by_side(partial(perform, bench=bench), tasks, bench.n_beside, report, is_renewed=False)
        return
    for task in tasks:
        try:
            result: Line | str = perform(task, bench)
        except Exception as error:  # the other runs continue; this one is reported
            result = failure(error)
        yield task, result


def _brief(line: Line) -> str:
    score = "no mAP" if line.mAP is None else f"mAP {line.mAP:.4f}"
    return f"{score}, {line.seconds:.0f} s"
