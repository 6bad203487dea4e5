"""Locks on files."""

import os
import subprocess
import sys

import pytest

from earmark.errors import DataError
from earmark.storage.locks import alone, claim, lock_file

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
OTHER = """
import sys
from earmark.storage.locks import lock_file
with open(sys.argv[1], "a") as file:
    print(lock_file(file, per_process=sys.argv[2] == "True"), flush=True)
    input()
"""


@pytest.mark.parametrize("per_process", [False, True])
def test_a_lock_lasts_until_its_process_ends(tmp_path, per_process):
    path = tmp_path / "lock"
    command = [sys.executable, "-c", OTHER, str(path), str(per_process)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"True\n"
        with path.open("a") as file:
            assert not lock_file(file, per_process)
        other.kill()
    with path.open("a") as file:
        assert lock_file(file, per_process)


def test_forks_inherit_a_lock_unless_it_is_per_process(tmp_path):
    is_inherited = {}
    for per_process in (False, True):
        path = tmp_path / str(per_process)
        reader, writer = os.pipe()
        with path.open("a") as file:
            assert lock_file(file, per_process)
            child = os.fork()
            if child == 0:
                os.read(reader, 1)
                os._exit(0)
        with path.open("a") as file:
            is_inherited[per_process] = not lock_file(file, per_process)
        os.write(writer, b"x")
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    assert is_inherited == {False: True, True: False}


def test_only_one_process_works_in_a_folder(tmp_path):
    with (
        alone(tmp_path),
        pytest.raises(DataError, match=f"{tmp_path}: another process is at work there"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass


def test_a_folder_without_locks_is_open_to_all(tmp_path, monkeypatch):
    import fcntl

    def missing(*arguments):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", missing)
    with alone(tmp_path), alone(tmp_path):
        pass


def test_a_claim_is_refused_with_the_folder(tmp_path):
    path = tmp_path / "journal"
    with path.open("a") as file, path.open("a") as other:
        claim(file, path)
        with pytest.raises(DataError, match=f"{tmp_path}: another process is at work there"):
            claim(other, path)


def test_a_file_removed_by_its_owner_cannot_be_locked(tmp_path):
    path = tmp_path / "journal"
    for is_made_again in (False, True):
        with path.open("a") as file:
            path.unlink()
            if is_made_again:
                path.touch()
            with pytest.raises(DataError, match="another process is at work there"):
                claim(file, path)
