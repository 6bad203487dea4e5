"""Files that one process at a time holds."""

import os
import subprocess
import sys

import pytest

from earmark.errors import DataError
from earmark.storage.locks import claim, hold

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no file locks there")
OTHER = """
import sys
from earmark.storage.locks import hold
with open(sys.argv[1], "a") as file:
    print(hold(file, by_process=sys.argv[2] == "True"), flush=True)
    input()
"""


@pytest.mark.parametrize("by_process", [False, True])
def test_another_process_is_kept_out_until_its_end(tmp_path, by_process):
    path = tmp_path / "lock"
    words = [sys.executable, "-c", OTHER, str(path), str(by_process)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"True\n"
        with path.open("a") as file:
            assert not hold(file, by_process)
        other.kill()
    with path.open("a") as file:
        assert hold(file, by_process)


def test_forked_processes_hold_on_unless_it_is_by_process(tmp_path):
    held = {}
    for by_process in (False, True):
        path = tmp_path / str(by_process)
        reader, writer = os.pipe()
        with path.open("a") as file:
            assert hold(file, by_process)
            child = os.fork()
            if child == 0:
                os.read(reader, 1)
                os._exit(0)
        with path.open("a") as file:
            held[by_process] = not hold(file, by_process)
        os.write(writer, b"x")
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    assert held == {False: True, True: False}


def test_a_claim_is_refused_with_the_folder(tmp_path):
    path = tmp_path / "journal"
    with path.open("a") as file, path.open("a") as other:
        claim(file, path)
        with pytest.raises(DataError, match=f"{tmp_path}: another process is at work there"):
            claim(other, path)


def test_a_file_that_its_owner_has_removed_is_no_claim(tmp_path):
    path = tmp_path / "journal"
    for is_made_again in (False, True):
        with path.open("a") as file:
            path.unlink()
            if is_made_again:
                path.touch()
            with pytest.raises(DataError, match="another process is at work there"):
                claim(file, path)
