"""The commands table1, localisation, figure3, table2 and audioset: parse, call, print."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import CycloptsError, Parameter
from cyclopts.validators import Number

from earmark.cli.flags import AsJson, Quiet
from earmark.cli.screen import destination, note, progress, refuse_overwriting, report_error, say, write_json
from earmark.labels import ESC10
from experiments.table1.profiles import CELLS, DIFFICULTIES, PROFILES, Profile, ProfileName

if TYPE_CHECKING:
    from earmark.data.clips import Dataset
    from experiments.table1.estimate import Outlook
    from experiments.table1.plan import Run, TablePlan

OUT: Final = Path("table1")
"""Default folder of the table."""
AUDIOSET_OUT: Final = Path("audioset")
"""Default folder of the experiment on AudioSet."""
BANK: Final = Path("ESC-50")
"""Default bank of sounds."""
_HOW: Final = "where DIR is a download of https://github.com/karolpiczak/ESC-50, or use --tables-only"

Count = Annotated[int, Parameter(validator=Number(gte=1))]


@dataclass(frozen=True)
class Changes:
    """Settings of a table that replace those of its profile."""

    labels: str | None = None
    """Labels: names or ids joined by commas, esc10 or all."""
    n_clips_seen: Count | None = None
    """Training clips of a run."""
    n_train: Count | None = None
    """Number of training soundscapes."""
    n_valid: Count | None = None
    """Number of validation soundscapes."""
    n_test: Count | None = None
    """Number of test soundscapes."""

    def of(self, profile: Profile) -> Profile:
        """The profile with these changes."""
        if self.labels is not None:
            chosen = {"all": None, "esc10": ESC10}.get(self.labels, self.labels)
            profile = replace(profile, labels=_names("labels", chosen) if isinstance(chosen, str) else chosen)
        if self.n_clips_seen is not None:
            profile = replace(profile, training=replace(profile.training, n_clips_seen=self.n_clips_seen))
        return replace(
            profile,
            n_train=self.n_train or profile.n_train,
            n_valid=self.n_valid or profile.n_valid,
            n_test=self.n_test or profile.n_test,
        )


_NONE = Changes()


def table1(
    *,
    bank: str | None = None,
    out: Path = OUT,
    profile: ProfileName = "small",
    difficulty: str = ",".join(DIFFICULTIES),
    n_seeds: Count = 3,
    cells: str | None = None,
    ablations: bool = True,
    train_splits: str = "1,2,3",
    test_splits: str = "5",
    changes: Annotated[Changes, Parameter(name="*", group="Changes to the profile")] = _NONE,
    jobs: Count = 1,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    tables_only: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Compare the six poolings on soundscapes, with error bars, and ablate GMAP.

    Args:
        bank: Clips of one sound each: a source and a path, such as esc50:DIR. The folder ESC-50 when not given.
        out: Folder of the table: new, or started by the same command.
        profile: How much work: small for two processor cores, full (the paper's network and training) for a GPU.
        difficulty: sparse (events of 0.3 to 1 s), dense (1 to 4 s) or both, joined by commas.
        n_seeds: Runs of each cell; more can be added later.
        cells: Only these runs: poolings and ablations joined by commas.
        ablations: Also train GMAP's ablations, on sparse soundscapes.
        train_splits: Training splits of the bank, joined by commas; a sixth of their sounds is for validation.
        test_splits: Test splits of the bank, joined by commas.
        jobs: Number of runs at a time, which share the processors.
        dry_run: Only print the planned work and an estimate of its time.
        tables_only: Only write the tables again from the finished runs.
    """
    if tables_only:
        return _tables_only(out, json)
    if bank is None:
        if not BANK.is_dir():
            raise CycloptsError(f"--bank is missing and there is no folder {BANK} here; give --bank esc50:DIR, {_HOW}")
        bank = f"esc50:{BANK}"
    chosen = None if cells is None else _names("cells", cells, CELLS)
    asked = {"difficulties": _names("difficulty", difficulty, DIFFICULTIES)}
    asked |= {"train_splits": _names("train-splits", train_splits), "test_splits": _names("test-splits", test_splits)}
    from experiments.table1.plan import make_plan

    plan, sounds = make_plan(bank, changes.of(PROFILES[profile]), n_seeds=n_seeds, **asked)
    runs = plan.runs(chosen, ablations)
    if dry_run:
        from experiments.table1.estimate import look_ahead

        _print_outlook(plan, look_ahead(out, plan, runs), json)
        return 0
    return _make_table(out, plan, sounds, runs, jobs, json, quiet)


def _make_table(
    out: Path, plan: "TablePlan", bank: "Dataset", runs: "Sequence[Run]", jobs: int, json: bool, quiet: bool
) -> int:
    from experiments.table1.table import make_table

    outcome = make_table(
        out,
        plan,
        bank,
        runs,
        n_jobs=jobs,
        show=lambda doing: progress(doing, quiet),
        report=lambda text: note(text, quiet),
        report_failure=report_error,
        training_progress=not quiet and sys.stderr.isatty(),
    )
    if json:
        failed = [{**run._asdict(), "error": reason} for run, reason in outcome.failed]
        files = [str(path) for path in outcome.tables]
        write_json({"n_runs": len(runs), "n_done": outcome.n_done, "failed": failed, "tables": files})
    else:
        for path in outcome.tables:
            say(str(path))
    return int(bool(outcome.failed))


def localisation(
    *,
    out: Path = OUT,
    tables_only: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure how well the runs of a table1 locate events in time.

    Args:
        out: Folder of the table.
        tables_only: Only write the table again from the measured runs.
    """
    from experiments.localisation import localise, write_table

    missing: tuple[Run, ...] = ()
    if not tables_only:
        with progress("measuring", quiet) as show:
            missing = localise(out, lambda run, done, total: show(done, total)).missing
    for run in missing:
        note(f"{run}: skipped, its checkpoint is missing", quiet)
    table = write_table(out)
    if json:
        write_json({"table": str(table), "missing": [run._asdict() for run in missing]})
    else:
        say(str(table))


def figure3(
    *,
    out: Path = OUT,
    difficulty: str = "sparse",
    clip: str | None = None,
    seed: Annotated[int, Parameter(validator=Number(gte=0))] = 0,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Draw what each GMAP head and vanilla attention attend to in one soundscape.

    Args:
        out: Folder of the table whose runs and test soundscapes are drawn.
        difficulty: sparse or dense.
        clip: Name of a test soundscape; the most typical one with two events when not given.
        seed: Seed of the two runs.
    """
    if difficulty not in DIFFICULTIES:
        raise CycloptsError(f"--difficulty: one of {', '.join(DIFFICULTIES)} was expected, not {difficulty!r}")
    from experiments.figure3 import draw

    picture = draw(out, difficulty, clip, seed)
    if json:
        write_json({"figure": str(picture)})
    else:
        say(str(picture))


def table2(*, report: Path | None = None, out: Path | None = None) -> None:
    """Print the literature on AudioSet, beside a report of your own.

    Args:
        report: A report.json of `earmark evaluate` on AudioSet's evaluation clips.
        out: Write to this file instead of standard output.
    """
    from experiments.table2 import table2 as literature

    refuse_overwriting(out, [] if report is None else [report])
    text = literature(report)
    with destination(out) as stream:
        stream.write(text.rstrip("\n") + "\n")


def audioset(
    features: Path | None = None,
    *,
    out: Path = AUDIOSET_OUT,
    train_split: str = "bal_train",
    test_split: str = "eval",
    strong: Path | None = None,
    cells: str | None = None,
    n_seeds_first: Count = 10,
    n_seeds: Count = 5,
    n_seeds_systems: Count = 3,
    jobs: Count = 1,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    tables_only: Annotated[bool, Parameter(negative="")] = False,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Compare all poolings on AudioSet's released features, with error bars, and the systems of the literature.

    Args:
        features: Folder of AudioSet's released features, with a folder for each split.
        out: Folder of the experiment: new, or started by the same command.
        train_split: Folder of the training clips; a part of them is for the search.
        test_split: Folder of the test clips.
        strong: Folder with strong.tsv and strong_clips.tsv, for localisation; without it there is none.
        cells: Only these runs, with the search that they need: poolings, parts of GMAP and systems joined by commas.
        n_seeds_first: Runs of each pooling of Table 1 and of each part of GMAP; more can be added later.
        n_seeds: Runs of each other pooling.
        n_seeds_systems: Runs of each system.
        jobs: Number of runs at a time, which share the processors.
        dry_run: Only print the planned work.
        tables_only: Only write the pages again from the finished runs.
    """
    if tables_only:
        return _audioset_pages(out, json, failed=())
    from experiments.audioset_poolings.clips import Places
    from experiments.audioset_poolings.experiment import make, remaining
    from experiments.audioset_poolings.plan import Protocol
    from experiments.audioset_poolings.runs import Bench

    if features is None:
        raise CycloptsError(
            "FEATURES is missing: give the folder of AudioSet's released features, or use --tables-only"
        )
    protocol = Protocol(n_seeds_first=n_seeds_first, n_seeds=n_seeds, n_seeds_systems=n_seeds_systems)
    bench = Bench(out, Places(features, train_split, test_split, strong), protocol, jobs)
    chosen = None if cells is None else _names("cells", cells)
    if dry_run:
        for number, phase in enumerate(remaining(bench, chosen), 1):
            say(f"phase {number}: {len(phase)} runs left{f', {phase[0]} first' if phase else ''}")
        return 0
    outcome = make(bench, chosen, report=lambda text: note(text, quiet), report_failure=report_error)
    return _audioset_pages(out, json, [(str(run), reason) for run, reason in outcome.failed])


def _audioset_pages(out: Path, json: bool, failed: Sequence[tuple[str, str]]) -> int:
    from experiments.audioset_poolings.pages import write_pages

    files = [str(path) for path in write_pages(out)]
    if json:
        write_json({"failed": [{"run": run, "error": reason} for run, reason in failed], "files": files})
    else:
        for file in files:
            say(file)
    return int(bool(failed))


def _tables_only(out: Path, json: bool) -> int:
    from experiments.table1.table import write_tables

    tables = [str(path) for path in write_tables(out)]
    if json:
        write_json({"tables": tables})
    else:
        for path in tables:
            say(path)
    return 0


def _names(flag: str, text: str, choices: Iterable[str] | None = None) -> tuple[str, ...]:
    """The values of a flag, without duplicates."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
    if not words:
        raise CycloptsError(f"--{flag}: names joined by commas were expected, not {text!r}")
    if choices is not None and (unknown := [word for word in words if word not in set(choices)]):
        raise CycloptsError(f"--{flag}: some of {', '.join(choices)} were expected, not {', '.join(unknown)}")
    return words


def _print_outlook(plan: "TablePlan", outlook: "Outlook", json: bool) -> None:
    profile, estimate = plan.profile, outlook.estimate
    if json:
        missing = [dict(zip(("difficulty", "part", "n_clips"), entry, strict=True)) for entry in outlook.unrendered]
        summary = {"n_runs": outlook.n_runs, "n_done": outlook.n_done, "unrendered": missing, "plan": plan.to_json()}
        seconds = round(estimate.seconds, 1) if estimate else 0.0
        write_json({**summary, "seconds": seconds, "estimated_from": estimate.how if estimate else None})
        return
    n_labels = "all" if profile.labels is None else len(profile.labels)
    say(f"profile {profile.name}: {n_labels} labels of {plan.bank}, width {profile.training.width}")
    say(
        f"a run: {profile.training.n_clips_seen} clips seen of {profile.n_train}; "
        f"validation {profile.n_valid}, test {profile.n_test} soundscapes"
    )
    say(f"runs: {outlook.n_runs}, {outlook.n_done} done, {outlook.n_runs - outlook.n_done} left")
    if outlook.unrendered:
        parts = ", ".join(f"{n} {difficulty} {part}" for difficulty, part, n in outlook.unrendered)
        say(f"soundscapes to mix: {parts}")
    if estimate is not None:
        say(
            f"time: about {_duration(estimate.seconds)} at {estimate.clips_per_second:.0f} clips/s, without the "
            f"soundscapes (estimated from {estimate.how})"
        )


def _duration(seconds: float) -> str:
    """A duration in hours and minutes.

    >>> _duration(50.0), _duration(3900.0)
    ('1 min', '1 h 05 min')
    """
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"
