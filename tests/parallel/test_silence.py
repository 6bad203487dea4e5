"""C libraries are silent, Python is not."""

import os
import subprocess
import sys

import pytest

from earmark.parallel.silence import silenced_libraries


def test_python_still_writes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    with silenced_libraries():
        os.write(2, b"a library\n")
        sys.stderr.write("python\n")
    os.write(2, b"a library afterwards\n")
    assert capfd.readouterr().err == "python\na library afterwards\n"


def test_a_silent_process_writes_nothing() -> None:
    code = (
        "import os, sys; from earmark.parallel.silence import silence_process\n"
        "silence_process(); os.write(2, b'a library'); sys.stderr.write('python'); print('a result')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("a result\n", "")
