import errno
import os
import stat
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest

from earmark.storage.files import atomic_write, in_either_form, leftovers, utf8_name, walk

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and modes of POSIX")


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "a.json"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert not path.exists() and temporary.parent == path.parent and temporary.suffix == ".json"
    assert path.read_text() == "new" and list(path.parent.iterdir()) == [path]


def test_a_file_is_flushed_to_disk_before_it_is_renamed(tmp_path, monkeypatch):
    calls = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: calls.append("sync") or sync(number))
    monkeypatch.setattr(Path, "replace", lambda path, target: calls.append("replace") or replace(path, target))
    with atomic_write(tmp_path / "a.json") as temporary:
        temporary.write_text("new")
    assert calls == ["sync", "replace"] and (tmp_path / "a.json").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_temporary_files_of_a_killed_writer_are_found(tmp_path):
    for name in ("a.json", ".hidden", ".a-0123456789ab", "b-0123456789ab.json", ".b-0123456789.json"):
        (tmp_path / name).write_text("a user's")
    assert leftovers(tmp_path) == [tmp_path / ".a-0123456789ab"]
    (tmp_path / ".a-0123456789ab").unlink()
    with atomic_write(tmp_path / ("a.b" * 30 + ".json")) as temporary:
        assert leftovers(tmp_path) == [temporary]


@posix
def test_a_result_has_the_permissions_of_any_new_file(tmp_path):
    with atomic_write(tmp_path / "a") as temporary:
        temporary.unlink()
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
    (tmp_path / "b").write_text("x")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == stat.S_IMODE((tmp_path / "b").stat().st_mode)


@posix
@pytest.mark.parametrize("target_exists", [True, False])
def test_a_link_stays_a_link_and_its_target_is_written(tmp_path, target_exists):
    (tmp_path / "real").mkdir()
    target, link = tmp_path / "real" / "a.txt", tmp_path / "link.txt"
    if target_exists:
        target.write_text("old")
    link.symlink_to("real/a.txt")
    with atomic_write(link) as temporary:
        temporary.write_text("new")
        assert temporary.parent == target.parent, "a rename between two disks is not atomic"
    assert link.is_symlink() and target.read_text() == "new"
    assert sorted(p.name for p in target.parent.iterdir()) == ["a.txt"]


@posix
def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError) as caught, atomic_write(tmp_path / "loop"):
        pass
    assert caught.value.errno == errno.ELOOP and (tmp_path / "loop").is_symlink()


@posix
def test_a_pipe_receives_the_bytes_and_stays_a_pipe(tmp_path):
    pipe, received = tmp_path / "pipe.txt", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with atomic_write(pipe) as temporary:
        assert temporary.parent != tmp_path and temporary.suffix == ".txt"
        # some writers rename their own file over the given path
        (temporary.parent / "own").write_bytes(b"whole")
        (temporary.parent / "own").replace(temporary)
    reader.join()
    assert received == [b"whole"] and stat.S_ISFIFO(pipe.stat().st_mode) and not temporary.parent.exists()


def test_errors_name_the_file_and_not_the_temporary_one(tmp_path):
    (tmp_path / "file").write_text("x")
    long = tmp_path / ("a." + "x" * 300)
    for path, number, named in (
        (tmp_path, errno.EISDIR, tmp_path),
        (tmp_path / "file" / "a", errno.ENOTDIR, tmp_path / "file"),
        (long, errno.ENAMETOOLONG, long),
    ):
        began = False
        with pytest.raises(OSError) as caught, atomic_write(path):
            began = True
        assert (caught.value.errno, caught.value.filename, caught.value.filename2) == (number, str(named), None)
        assert not began, "the error comes before the work"


def test_the_error_of_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError) as caught, atomic_write(tmp_path / "a"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "a")
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "a"):
        (tmp_path / "input").read_text()
    assert caught.value.filename == str(tmp_path / "input"), "an error of another file keeps its name"


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="no /dev/stdout here")
def test_standard_output_is_appended_to_a_redirected_file(tmp_path):
    log = tmp_path / "log"
    log.write_text("old\n")
    script = "import sys; from earmark.storage.files import atomic_write\n"
    script += "with atomic_write('/dev/stdout') as path: path.write_text('new\\n')"
    with log.open("a") as stream:
        subprocess.run([sys.executable, "-c", script], stdout=stream, check=True)
    assert log.read_text() == "old\nnew\n"


@posix
def test_walk_skips_hidden_files_and_visits_each_folder_once(tmp_path):
    for path in ("b/2", "b/.hidden", "a/c/1", ".cache/3"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b" / "gone").symlink_to(tmp_path / "none")
    (tmp_path / "b" / "itself").symlink_to(tmp_path / "b" / "itself")
    assert {folder: sorted(file.name for file in files) for folder, files in walk(tmp_path)} == {
        f"{tmp_path}": [],
        f"{tmp_path}/a": [],
        f"{tmp_path}/a/c": ["1"],
        f"{tmp_path}/b": ["2", "gone", "itself"],
    }


def test_walk_passes_on_the_errors_of_unreadable_folders(tmp_path):
    errors: list[OSError] = []
    assert list(walk(tmp_path / "none", errors.append)) == []
    with pytest.raises(FileNotFoundError, match="none"):
        list(walk(tmp_path / "none"))
    assert [error.filename for error in errors] == [str(tmp_path / "none")]


def test_a_path_is_found_in_either_unicode_form(tmp_path):
    composed, decomposed = "Gänse", unicodedata.normalize("NFD", "über.wav")
    (tmp_path / composed).mkdir()
    (tmp_path / composed / decomposed).touch()
    for form in ("NFC", "NFD"):
        path = Path(unicodedata.normalize(form, str(tmp_path / composed / decomposed)))
        assert in_either_form(path).samefile(tmp_path / composed / decomposed)
    for gone in (tmp_path / composed / "gone ü", Path("gone ü"), tmp_path / "plain"):
        assert in_either_form(gone) == gone


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_libraries_get_a_name_in_utf8(tmp_path):
    path = tmp_path / "mod\udc85.txt"
    path.write_text("here")
    with utf8_name(path) as name:
        assert name.encode() and Path(name).read_text() == "here" and name.endswith(".txt")
    assert path.exists() and not Path(name).exists()
    with utf8_name(tmp_path / "ü.txt") as name:
        assert name == str(tmp_path / "ü.txt")
