"""Commands as steps of a script."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from earmark.errors import ConfigError
from experiments.steps import check_inputs, commit, earmark, resume, run, short_commit


def test_a_step_fails_with_the_status_of_its_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with (tmp_path / "out.txt").open("w") as output:
        run([sys.executable, "-c", "print('done')"], tmp_path, output)
    assert (tmp_path / "out.txt").read_text() == "done\n"
    with pytest.raises(SystemExit) as failure:
        earmark("tag", folder=tmp_path)
    assert failure.value.code == 2
    assert capfd.readouterr().err.startswith("error: ")


STEP = """
import sys, time
from pathlib import Path
from experiments.steps import commit, earmark, resume, run
slow = "import sys, time, pathlib\\ntry: pathlib.Path('started').touch(); time.sleep(60)\\nexcept KeyboardInterrupt:"
slow += " time.sleep(1); pathlib.Path('saved').touch()"
run([sys.executable, "-c", slow], Path(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups there")
def test_an_interrupted_step_is_saved_before_the_script_ends(tmp_path: Path, wait_until: Callable[..., None]) -> None:
    script = subprocess.Popen([sys.executable, "-c", STEP, str(tmp_path)], stderr=subprocess.DEVNULL, process_group=0)
    wait_until((tmp_path / "started").exists, script)
    os.killpg(script.pid, signal.SIGINT)
    script.wait()
    assert (tmp_path / "saved").exists()


def test_resume_and_commit(tmp_path: Path) -> None:
    assert resume(tmp_path) == []
    (tmp_path / "run.json").touch()
    assert resume(tmp_path) == ["--resume"]
    assert re.fullmatch(r"([0-9a-f]{10}(-dirty)?)?", commit())
    assert (short_commit("0123456789abc-dirty"), short_commit(None)) == ("0123456789-dirty", "")


def test_a_folder_takes_the_files_that_it_was_begun_with(tmp_path: Path) -> None:
    model, later = tmp_path / "model", tmp_path / "later"
    model.write_text("a")
    check_inputs(tmp_path, model=model, later=later)
    later.write_text("b")
    check_inputs(tmp_path, model=model, later=later)
    later.write_text("c")
    with pytest.raises(ConfigError, match="other files were expected for later; take another folder"):
        check_inputs(tmp_path, model=model, later=later)
