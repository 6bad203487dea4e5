"""The pool: results and errors come back, deaths name their item, and no process outlives its parent."""

import importlib
import os
import signal
import subprocess
import sys
import time
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from earmark.errors import DataError, EarmarkError, EarmarkWarning
from earmark.parallel.pool import Death, Pool

TASKS = '''
"""Tasks that workers can import."""
import os, signal, sys, time, warnings
from pathlib import Path
from earmark.errors import ConfigError, DataError, EarmarkWarning

def double(item, report):
    return 2 * item

def process_of(item, report):
    return os.getpid()

def threads(item, report):
    return os.environ.get("OMP_NUM_THREADS")

def signals(item, report):
    return Path("/proc/self/status").read_text()

def noisy(item, report):
    print("from Python", flush=True)
    os.write(1, b"from C, to standard output")
    os.write(2, b"from C, to standard error")

def warn(item, report):
    warnings.warn("likely a mistake", EarmarkWarning)

class Stubborn(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")

def fail(item, report):
    if item == "data":
        raise DataError("no clip")
    if item == "file":
        raise FileNotFoundError(2, "No such file", "a.wav")
    if item == "bug":
        raise ZeroDivisionError("by zero")
    if item == "unpicklable error":
        raise Stubborn(1, 2)
    return (line for line in item)

def die(item, report):
    """An item is (how, marker): dies while the marker is not there, `always` in any case."""
    how, marker = item
    report("begun")
    if how != "never" and (how == "always" or not Path(marker).exists()):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return how

def leave(item, report):
    os._exit(3)

def wait_for_parent(item, report):
    """Leaves a file with its process id, and another when it is interrupted and has saved."""
    folder = Path(item)
    try:
        (folder / f"begun-{os.getpid()}").touch()
        while True:
            time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(0.2)
        warnings.warn("the parent no longer listens", EarmarkWarning)
        (folder / f"saved-{os.getpid()}").touch()
        raise

def wait_for_parent_and_sleep(item, report):
    """As before, but saving takes longer than anybody waits."""
    folder = Path(item)
    try:
        (folder / f"begun-{os.getpid()}").touch()
        while True:
            time.sleep(60)
    except KeyboardInterrupt:
        (folder / f"saving-{os.getpid()}").touch()
        time.sleep(600)
        (folder / f"saved-{os.getpid()}").touch()

def warn_of_others(item, report):
    warnings.warn("not of earmark")
    return 1

def report_for_ever(item, report):
    while True:
        report(os.getpid())
        time.sleep(0.01)

def work_together(item, report):
    """An item is (role, path); the peers wait until something happens."""
    role, folder = item[0], Path(item[1])
    if role == "fails":
        while not list(folder.glob("begun-*")):
            time.sleep(0.01)
        raise DataError("failed")
    if role == "dies":
        os._exit(3)
    if role == "fails later":
        time.sleep(1)
        raise DataError("failed later")
    while True:
        try:
            (folder / f"begun-{os.getpid()}").touch()
            time.sleep(60)
        except KeyboardInterrupt:
            if role == "hangs":
                time.sleep(1.5)  # longer than the patience of the pool
                (folder / f"interrupted-{os.getpid()}").touch()
                continue
            warnings.warn("saving", EarmarkWarning)
            time.sleep(1.5)
            raise KeyboardInterrupt("saved") from None

class Unloadable:
    def __reduce__(self):
        return (_refuse, ())

def _refuse():
    raise ValueError("this item cannot be unpickled")
'''

PARENT = """
import sys
from contextlib import closing
import tasks_of_a_pool as tasks
from earmark.parallel.pool import Pool
if __name__ == "__main__":
    task, item, grace, patience = sys.argv[1:5]
    items = [(role, item) for role in sys.argv[5:]] or [item, item]
    try:
        pool = Pool(2, grace=None if grace == "None" else float(grace), patience=float(patience) or None)
        with closing(pool.run(getattr(tasks, task), items)) as results:
            for _, result in results:
                print(repr(result), flush=True)
    except KeyboardInterrupt:
        sys.exit(77)
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "tasks_of_a_pool.py").write_text(TASKS)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("tasks_of_a_pool", None)
    return importlib.import_module("tasks_of_a_pool")


@pytest.fixture
def parent(tasks: Any, tmp_path: Path):
    """Starts a parent process that can be signalled; it works on two items, the same path."""
    (tmp_path / "parent.py").write_text(PARENT)

    def start(task: str, grace: float | None, patience: float = 0.0, *roles: str) -> subprocess.Popen[str]:
        words = [sys.executable, str(tmp_path / "parent.py"), task, str(tmp_path), str(grace), str(patience), *roles]
        return subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    return start


def eventually(condition, what: str) -> None:
    for _ in range(60_000):
        if condition():
            return
        time.sleep(0.01)
    pytest.fail(f"{what} was expected within ten minutes")


def is_gone(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    status = Path("/proc", pid, "stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z"


def marks(folder: Path, kind: str) -> set[str]:
    return {path.name.removeprefix(f"{kind}-") for path in folder.glob(f"{kind}-*")}


def test_every_item_comes_back_with_its_value(tasks: Any) -> None:
    for n_processes, n_at_a_time in ((1, 1), (3, 2)):
        assert dict(Pool(n_processes, n_at_a_time).run(tasks.double, range(7))) == {n: 2 * n for n in range(7)}
    assert list(Pool(2).run(tasks.double, [])) == []


def test_items_are_taken_when_a_worker_is_free(tasks: Any) -> None:
    taken: list[int] = []
    with closing(Pool(1, 4).run(tasks.double, (n for n in range(1000) if not taken.append(n)))) as results:
        for _ in range(5):
            next(results)
    assert len(taken) == 8


def test_a_process_serves_all_items_or_one(tasks: Any) -> None:
    assert len({pid for _, pid in Pool(1).run(tasks.process_of, range(3))}) == 1
    assert len({pid for _, pid in Pool(1, is_renewed=True).run(tasks.process_of, range(3))}) == 3


def test_only_the_workers_limit_their_threads(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert [n for _, n in Pool(1, n_threads=3).run(tasks.threads, [0])] == ["3"]
    assert [n for _, n in Pool(1).run(tasks.threads, [0])] == ["5"]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert [n for _, n in Pool(1, n_threads=3).run(tasks.threads, [0])] == ["3"]
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("is_silent", [False, True])
def test_only_the_parent_writes_to_standard_output(tasks: Any, capfd: Any, is_silent: bool) -> None:
    list(Pool(1, is_silent=is_silent).run(tasks.noisy, [0]))
    captured = capfd.readouterr()
    assert captured.out == ""
    texts = ("from Python", "from C, to standard output", "from C, to standard error")
    assert [text in captured.err for text in texts] == 3 * [not is_silent]


def test_warnings_are_passed_on(tasks: Any) -> None:
    with pytest.warns(EarmarkWarning, match="likely a mistake") as caught:
        list(Pool(1, is_silent=True).run(tasks.warn, [0, 1]))
    assert len(caught) == 2


@pytest.mark.parametrize(
    ("item", "kind", "text"),
    [
        ("data", DataError, "^no clip$"),
        ("file", FileNotFoundError, "No such file: 'a.wav'"),
        ("bug", ZeroDivisionError, "^by zero"),
        ("unpicklable error", EarmarkError, "^Stubborn: 1 and 2$"),
        ("unpicklable value", TypeError, "generator"),
    ],
)
def test_errors_keep_their_class(tasks: Any, item: str, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text) as caught:
        list(Pool(1).run(tasks.fail, [item]))
    assert type(caught.value) is kind
    if item == "bug":
        assert "tasks_of_a_pool.py" in caught.value.__notes__[0], "where it was raised"


def test_an_item_that_cannot_be_loaded_is_an_error(tasks: Any) -> None:
    with pytest.raises(ValueError, match="this item cannot be unpickled"):
        list(Pool(1).run(tasks.double, [tasks.Unloadable()]))


def test_a_task_that_cannot_be_loaded_is_an_error(tasks: Any, tmp_path: Path) -> None:
    results = Pool(1).run(tasks.double, [1])
    (tmp_path / "tasks_of_a_pool.py").write_text("")
    sys.path_importer_cache.clear()
    for cached in tmp_path.glob("__pycache__/*"):
        cached.unlink()
    with pytest.raises(AttributeError, match="double"):
        list(results)
    [(_, error)] = Pool(1, grace=None, patience=1.0).run(tasks.double, [1])
    assert isinstance(error, AttributeError)


def test_a_dead_worker_fails_only_its_item(tasks: Any, tmp_path: Path) -> None:
    items = [(how, str(tmp_path / f"{n}")) for n, how in enumerate(("never", "always", "never", "once", "never"))]
    reports: list[tuple[str, str]] = []
    for n_attempts, of_once in ((1, Death(-9, "begun")), (2, "once")):
        (tmp_path / "3").unlink(missing_ok=True)
        pool = Pool(2, n_items_at_a_time=3, n_attempts=n_attempts)
        results = dict(pool.run(tasks.die, items, lambda item, report: reports.append((item[0], report))))
        assert [results[item] for item in items] == ["never", Death(-9, "begun"), "never", of_once, "never"]
        n_reports = {how: [one for one, _ in reports].count(how) for how in ("never", "always", "once")}
        assert n_reports == {"never": 3, "always": n_attempts, "once": n_attempts}
        reports.clear()


def test_a_death_says_how_the_process_ended(tasks: Any) -> None:
    [(_, death)] = Pool(1).run(tasks.leave, [0])
    assert (death.exit_code, death.last_report, death.reason) == (3, None, "ended with status 3")
    assert Death(-9).reason == "was killed by signal 9"


def test_workers_that_cannot_start_are_an_error(tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.parallel.pool._work", os._exit)  # which does not take a connection
    with pytest.raises(EarmarkError, match="a worker process ended with status 1 before it could start"):
        list(Pool(1).run(tasks.double, [0]))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the signals of a process from /proc")
def test_workers_ignore_ctrl_c(tasks: Any) -> None:
    for grace in (0.0, None):
        [(_, status)] = Pool(1, grace=grace).run(tasks.signals, [0])
        for name in ("SigBlk", "SigIgn"):
            mask = int(next(line.split()[1] for line in status.splitlines() if line.startswith(name)), 16)
            assert mask >> signal.SIGINT - 1 & 1, name


def test_an_interruption_ends_the_workers(tasks: Any) -> None:
    pids: list[int] = []
    stopped: list[int] = []

    def interrupt(item: int, pid: int) -> None:
        pids.append(pid)
        if len(set(pids)) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(Pool(2, grace=60.0).run(tasks.report_for_ever, range(9), interrupt, stopped.append))
    assert stopped == [2]
    assert all(is_gone(str(pid)) for pid in pids)


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
@pytest.mark.parametrize("grace", [0.0, 60.0, None])
def test_ctrl_c_stops_the_workers_and_lets_them_save(parent, tmp_path: Path, grace: float | None) -> None:
    process = parent("wait_for_parent", grace)
    eventually(lambda: len(marks(tmp_path, "begun")) == 2, "two workers at work")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out, err) == (77, "", "")
    begun = marks(tmp_path, "begun")
    assert all(is_gone(pid) for pid in begun)
    assert marks(tmp_path, "saved") == (set() if grace == 0 else begun)


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_second_ctrl_c_kills_the_workers(parent, tmp_path: Path) -> None:
    process = parent("wait_for_parent_and_sleep", None)
    eventually(lambda: len(marks(tmp_path, "begun")) == 2, "two workers at work")
    process.send_signal(signal.SIGINT)
    eventually(lambda: len(marks(tmp_path, "saving")) == 2, "two workers that save")
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 77
    assert all(is_gone(pid) for pid in marks(tmp_path, "begun")) and marks(tmp_path, "saved") == set()


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_killed_parent_stops_the_workers(parent, tmp_path: Path) -> None:
    process = parent("wait_for_parent", None)
    eventually(lambda: len(marks(tmp_path, "begun")) == 2, "two workers at work")
    process.kill()
    process.communicate()
    begun = marks(tmp_path, "begun")
    eventually(lambda: all(is_gone(pid) for pid in begun), "the end of the workers")
    assert marks(tmp_path, "saved") == begun


def test_warnings_of_other_libraries_stay_in_the_worker(tasks: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [value for _, value in Pool(1).run(tasks.warn_of_others, [0])] == [1]


def test_a_failure_among_peers_is_yielded_and_the_others_have_some_time(tasks: Any, tmp_path: Path) -> None:
    pool = Pool(2, grace=None, patience=0.5)
    roles = [("hangs", str(tmp_path)), ("fails", str(tmp_path))]
    (item, error), (_, death) = pool.run(tasks.work_together, roles)
    assert item == roles[1] and isinstance(error, DataError) and death == Death(-9)
    pool = Pool(2, grace=None, patience=60.0)
    found = dict(pool.run(tasks.work_together, [("fails later", ""), ("dies", "")]))
    assert found["dies", ""] == Death(3) and str(found["fails later", ""]) == "failed later"


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_interrupted_peers_say_what_they_saved(parent, tmp_path: Path) -> None:
    process = parent("work_together", None, 1.0, "saves", "saves")
    eventually(lambda: len(marks(tmp_path, "begun")) == 2, "two workers at work")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (77, 2 * "KeyboardInterrupt('saved')\n")
    assert "EarmarkWarning: saving" in err
    assert all(is_gone(pid) for pid in marks(tmp_path, "begun"))


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
def test_a_second_ctrl_c_kills_peers_that_hang(parent, tmp_path: Path) -> None:
    process = parent("work_together", None, 1.0, "hangs", "hangs")
    eventually(lambda: len(marks(tmp_path, "begun")) == 2, "two workers at work")
    process.send_signal(signal.SIGINT)
    eventually(lambda: len(marks(tmp_path, "interrupted")) == 2, "two workers that outlive the pool's patience")
    assert process.poll() is None, "they may need long to save their work"
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 77
    assert all(is_gone(pid) for pid in marks(tmp_path, "begun"))
