"""Processes that are killed, interrupted, or have no room on the disk."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.data.packs import JOURNAL, MANIFEST  # noqa: E402
from earmark.packing import check  # noqa: E402


def marked(folder: Path) -> list[Path]:
    """The processes that left a mark there and are still alive."""
    pids = [path.name.removeprefix("worker-") for path in folder.glob("worker-*")]
    assert pids
    return [Path("/proc", pid) for pid in pids if Path("/proc", pid).exists()]


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_a_killed_and_resumed_pack_has_the_same_bytes(
    script,
    wait_until,
    tmp_path: Path,
    content: Callable[..., Any],
    shards: Callable[..., Any],
    finish: Callable[..., Any],
) -> None:
    assert finish(script(tmp_path / "whole", jobs=1)) == ""
    whole = content(tmp_path / "whole")
    assert len(whole) == 9 and MANIFEST in whole and JOURNAL not in whole
    out = tmp_path / "out"
    kept: dict[str, bytes] = {}
    for n_shards, jobs in ((2, 2), (5, 1)):
        process = script(out, jobs, str(n_shards))
        wait_until(lambda n_shards=n_shards: len(shards(out)) >= n_shards, process)
        process.kill()  # only the parent: the others end by themselves
        finish(process)
        wait_until(lambda: not marked(tmp_path))
        assert not (out / MANIFEST).exists() and (out / JOURNAL).exists()
        now = content(out)
        assert {name: now[name] for name in kept} == kept, "what was whole is kept"
        kept = {path.name: path.read_bytes() for path in shards(out)}
    with (out / JOURNAL).open("ab") as journal:
        journal.write(b'{"file": "test-00000-of-00003.par')  # killed in the middle of a line
    (out / ".train-00000-of-00005-0123456789ab.parquet").write_bytes(b"half")
    before = {path.name: path.stat().st_ino for path in shards(out)}
    assert finish(script(out, 2)) == ""
    assert content(out) == whole
    same = [name for name, inode in before.items() if (out / name).stat().st_ino == inode]
    assert len(same) >= len(before) - 2, "made anew is at most what each process had in hand"
    assert len(before) >= 5


def test_a_pack_without_its_journal_is_refused(
    script,
    wait_until,
    tmp_path: Path,
    shards: Callable[..., Any],
    hidden: Callable[..., Any],
    finish: Callable[..., Any],
) -> None:
    out = tmp_path / "out"
    process = script(out, 1, "1")
    wait_until(lambda: shards(out), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    (tmp_path / "go").touch()
    told = finish(process)
    assert process.returncode == 1
    assert told.startswith("KeyboardInterrupt: stopped, ") and told.endswith(
        f" of 8 shards are in {out}: the same command continues"
    )
    assert "\n" not in told
    assert not hidden(out)
    (out / JOURNAL).unlink()
    assert "a new folder or one with pack.json was expected, this holds other files" in finish(script(out))


def test_ctrl_c_while_processes_start_is_reported_in_one_line(
    script, wait_until, tmp_path: Path, finish: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    process = script(out, 2, "0")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        finish(process)
        pytest.skip("looks for processes in /proc")
    wait_until(lambda: len(children.read_text().split()) >= 2, process)  # one of them only cleans up
    os.killpg(process.pid, signal.SIGINT)
    (tmp_path / "go").touch()
    stopped = f"KeyboardInterrupt: stopped, 0 of 8 shards are in {out}: the same command continues"
    assert finish(process) == stopped


def test_a_dead_process_fails_its_shard(
    script, tmp_path: Path, shards: Callable[..., Any], hidden: Callable[..., Any], finish: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    told = finish(script(out, 2, "deadly"))
    assert told.startswith("DataError: train-0000")
    assert ": the process that made it was killed by signal 9 at clip c20; " in told
    assert told.endswith("The same command continues") and "\n" not in told
    assert len(shards(out)) == 7 and not (out / MANIFEST).exists()
    assert finish(script(out, 2)) == ""
    assert len(shards(out)) == 8 and check(str(out)).damaged == ()
    assert not hidden(out)


def test_a_disk_without_room_is_an_error_of_one_line(
    script, tmp_path: Path, shards: Callable[..., Any], hidden: Callable[..., Any], finish: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    told = finish(script(out, 1, "full"))
    assert "File too large: " in told.replace("[Errno 27] ", "") and "-of-0000" in told and "\n" not in told
    assert shards(out) == [] and not hidden(out)
