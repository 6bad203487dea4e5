"""Folders of results, and the plans that they belong to."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from earmark.errors import ConfigError, DataError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.bulk.job import PLAN, Settings, finished  # noqa: E402
from earmark.bulk.work import do_part  # noqa: E402
from earmark.storage.remote import RemotePath  # noqa: E402


def test_a_folder_of_results_belongs_to_one_job(folder: Path, tmp_path: Path, a_job: Callable[..., Any]) -> None:
    out = RemotePath(str(tmp_path / "out"))
    job = a_job(folder)
    job.claim(out)
    job.claim(out)
    before = (tmp_path / "out" / PLAN).read_bytes()
    replace(job, model="/elsewhere/m").claim(out)
    for other, named in (
        (a_job(folder, Settings(top=3)), "top null -> 3"),
        (a_job(folder, rows_per_part=3), "rows_per_part 2 -> 3"),
        (replace(job, model_fingerprint="1" * 64), "model 000000000000 -> 111111111111"),
        (a_job(folder, Settings(n_features=3)), "embedding null -> 3"),
    ):
        with pytest.raises(ConfigError, match=f"results of another job, these differ: {named}"):
            other.claim(out)
        assert other.fingerprint != job.fingerprint
    assert (tmp_path / "out" / PLAN).read_bytes() == before
    (tmp_path / "out" / PLAN).write_text("{")
    with pytest.raises(DataError, match="damaged, no plan"):
        job.claim(out)
    with pytest.raises(ConfigError, match="this holds other files"):
        job.claim(RemotePath(str(folder)))


def test_damaged_parts_and_parts_of_another_job_are_computed_again(
    folder: Path, tmp_path: Path, loudness: Callable[..., Any], a_job: Callable[..., Any]
) -> None:
    out = RemotePath(str(tmp_path / "out"))
    job = a_job(folder, rows_per_part=1)
    done = [do_part(part, loudness(), job.settings, out, job.fingerprint) for part in job.input.parts[:3]]
    assert list(finished(out, job).values()) == done
    first = tmp_path / "out" / done[0].part
    first.write_bytes(first.read_bytes()[:-9])
    do_part(job.input.parts[1], loudness(), job.settings, out, "another job")
    assert list(finished(out, job).values()) == done[2:]


def test_a_plan_describes_itself(folder: Path, tmp_path: Path, a_job: Callable[..., Any]) -> None:
    a_job(folder, Settings(threshold="auto")).claim(RemotePath(str(tmp_path / "out")))
    plan = json.loads((tmp_path / "out" / PLAN).read_text())
    assert (plan["n_files"], plan["n_parts"], plan["rows_per_part"]) == (4, 2, 2)
    assert (plan["model_name"], plan["model"]) == ("m", "0" * 64)
    assert (plan["top"], plan["threshold"], plan["embedding"]) == (None, "auto", None)
