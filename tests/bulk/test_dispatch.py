"""Whole jobs, with a stand-in for Ray."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from earmark import hub
from earmark.errors import ConfigError, DataError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.bulk import dispatch  # noqa: E402
from earmark.bulk.job import Done  # noqa: E402
from earmark.bulk.work import do_part  # noqa: E402


def here(done: list[str]) -> Callable[..., None]:
    """`do_parts` without Ray."""

    def do_parts(job, parts, model, out, fleet, note):
        tagger = hub.load(model)
        for part in parts:
            note(part.name, do_part(part, tagger, job.settings, out, job.fingerprint))
            done.append(part.name)

    return do_parts


def test_the_same_call_resumes(folder: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    done: list[str] = []
    do_parts = here(done)

    def stops(job, parts, *others):
        do_parts(job, parts[:2], *others)
        raise KeyboardInterrupt

    out = str(tmp_path / "out")
    job = dispatch.make_job(str(folder), model=model, rows_per_part=1)
    monkeypatch.setattr(dispatch, "do_parts", stops)
    with pytest.raises(KeyboardInterrupt, match="the same command continues"):
        dispatch.run_job(job, out)
    monkeypatch.setattr(dispatch, "do_parts", do_parts)
    told: list[tuple[int, int]] = []
    outcome = dispatch.run_job(job, out, progress=lambda o: told.append((o.n_before, len(o.done))))
    assert done == [f"part-00000{i}.parquet" for i in range(4)]
    assert told == [(2, 2), (2, 3), (2, 4)]
    assert (outcome.n_parts, outcome.n_files, outcome.n_failed) == (4, 4, 1)
    assert outcome.seconds_of_audio == 1.5
    assert "b.wav: cut off" in str(outcome.first_error)
    again = dispatch.run_job(job, out)
    assert len(done) == 4
    assert replace(again, seconds=0.0) == replace(outcome, seconds=0.0, n_before=4)


def test_invalid_settings_are_errors_before_any_work(folder: Path, model: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    for settings in ({"top": 1, "threshold": 0.5}, {"threshold": 2.0}, {"threshold": "auto"}):
        with pytest.raises(ConfigError):
            dispatch.make_job(str(folder), model=model, **settings)


def test_results_on_the_disks_of_other_machines_are_missed(
    folder: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setattr(
        dispatch, "do_parts", lambda *a: a[-1]("part-000000.parquet", Done("part-000000.parquet", 4, 0, 1.0))
    )
    with pytest.raises(DataError, match="written on another machine"):
        dispatch.run_job(dispatch.make_job(str(folder), model=model), str(tmp_path / "out"))


def test_without_ray_there_is_an_error_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        dispatch.make_job(str(folder))
    assert caught.value.name == "ray"
