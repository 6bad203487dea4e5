"""`earmark bulk`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import earmark
from earmark import cli, hub

parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
pytest.importorskip("fsspec", reason="fsspec is not installed")
pytest.importorskip("ray", reason="Ray is not installed")

from earmark.bulk import cluster, dispatch  # noqa: E402
from earmark.bulk.work import do_part  # noqa: E402

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def fleets(monkeypatch: pytest.MonkeyPatch) -> list[cluster.Fleet]:
    """Processes the parts without Ray (tests/bulk/test_cluster.py has a real one), and records the fleet."""
    asked: list[cluster.Fleet] = []

    def do_parts(job, parts, model, out, fleet, tell):
        asked.append(fleet)
        for part in parts:
            tell(part.name, do_part(part, hub.load(model), job.settings, out, job.fingerprint))

    monkeypatch.setattr(dispatch, "do_parts", do_parts)
    return asked


def test_bulk_tags_a_folder_and_resumes(
    model: str, recordings: Path, tmp_path: Path, fleets: list[cluster.Fleet], capfd: Capture
) -> None:
    words = ["bulk", str(recordings), str(tmp_path), "--model", model, "--rows-per-part", "2", "--top", "2"]
    assert cli.main([*words, "--json", "--n-actors", "3", "--cpus-per-actor", "0.5", "--address", "auto"]) == 0
    captured = capfd.readouterr()
    summary = json.loads(captured.out)
    assert summary.pop("seconds") > 0
    assert summary == {
        "n_parts": 2,
        "n_parts_done": 2,
        "failed_parts": [],
        "n_files": 4,
        "n_failed": 1,
        "seconds_of_audio": 6.0,
    }
    told = captured.err.splitlines()
    assert told[0] == "parts: 2; starting the workers, which takes some seconds"
    assert told[-2] == f"{tmp_path}: 4 recordings, 0.00 hours of sound, 1 could not be read (column error)"
    assert told[-1].startswith("2 of the parts in ")
    assert " files/s, " in told[-1]
    rows = parquet.read_table([tmp_path / f"part-00000{i}.parquet" for i in range(2)]).to_pylist()
    assert [row["file"] for row in rows] == ["a.wav", "b.wav", "c.flac", "d/e.ogg"]
    tags = earmark.load(model).tag(recordings / "a.wav", top=2)
    assert rows[0]["tags"] == [{"label": t.label, "score": pytest.approx(t.score, abs=1e-5)} for t in tags]
    (tmp_path / "part-000001.parquet").unlink()
    assert cli.main(words) == 0
    assert capfd.readouterr().err.startswith("parts: 2, of which 1 are finished; starting")
    assert cli.main([*words, "--quiet"]) == 0
    assert capfd.readouterr() == ("", "")
    assert fleets == [cluster.Fleet(3, 0.5, "auto"), cluster.Fleet()]


def test_bulk_refuses_the_folder_of_another_job(
    model: str, recordings: Path, tmp_path: Path, fleets: list[cluster.Fleet], capfd: Capture
) -> None:
    words = ["bulk", str(recordings), str(tmp_path), "--model", model, "--quiet"]
    assert cli.main(words) == 0
    assert cli.main([*words, "--threshold", "0.5", "--rows-per-part", "3"]) == 1
    assert capfd.readouterr().err == (
        f"error: {tmp_path}: holds the results of another job, these differ: threshold null -> 0.5, "
        "rows_per_part 256 -> 3; put them back or take another folder\n"
    )
    assert len(fleets) == 1


def test_a_folder_that_cannot_be_read_is_reported(
    model: str,
    recordings: Path,
    tmp_path: Path,
    fleets: list[cluster.Fleet],
    refuse_folder: Callable[[Path], None],
    capfd: Capture,
) -> None:
    (recordings / "closed").mkdir()
    refuse_folder(recordings / "closed")
    assert cli.main(["bulk", str(recordings), str(tmp_path / "out"), "--model", model, "--quiet"]) == 1
    assert capfd.readouterr().err == f"error: {recordings / 'closed'}: this folder cannot be read\n"


def test_bulk_without_readable_recordings_is_an_error(
    model: str, tmp_path: Path, fleets: list[cluster.Fleet], capfd: Capture
) -> None:
    (tmp_path / "list.txt").write_text("x.wav\ny.wav\n")
    words = ["bulk", str(tmp_path / "list.txt"), str(tmp_path / "out"), "--model", model, "--quiet", "--json"]
    assert cli.main(words) == 1
    captured = capfd.readouterr()
    assert json.loads(captured.out)["n_failed"] == 2
    assert captured.err == (
        f"error: none of 2 recordings could be read; one of them: {tmp_path / 'x.wav'}: no such file\n"
    )


def test_bulk_reports_a_failed_part_and_fails(
    model: str, recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setattr(dispatch, "do_parts", lambda *words: words[-1]("part-000000.parquet", "3 workers died over it"))
    assert cli.main(["bulk", str(recordings), str(tmp_path), "--model", model, "--json"]) == 1
    captured = capfd.readouterr()
    assert json.loads(captured.out)["failed_parts"] == [
        {"part": "part-000000.parquet", "error": "3 workers died over it"}
    ]
    assert "error: part-000000.parquet: 3 workers died over it\n" in captured.err
    assert captured.err.endswith("1 of 1 part failed; the same command tries them again\n")


def test_bulk_without_ray_says_what_to_install(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture
) -> None:
    monkeypatch.setattr(dispatch, "find_spec", lambda name: None)
    assert cli.main(["bulk", str(recordings), str(tmp_path)]) == 1
    assert capfd.readouterr().err == (
        "error: ray is not installed, which this command needs: pip install 'earmark[bulk]'\n"
    )


@pytest.mark.parametrize(
    "words",
    [["--top", "2", "--threshold", "0.5"], ["--n-actors", "0"], ["--threshold", "2"], ["--cpus-per-actor", "0"]],
)
def test_bulk_refuses_invalid_arguments(recordings: Path, tmp_path: Path, words: list[str], capfd: Capture) -> None:
    assert cli.main(["bulk", str(recordings), str(tmp_path / "out"), *words]) == 2
    assert not (tmp_path / "out").exists()
    assert capfd.readouterr().err.startswith("error: ")
