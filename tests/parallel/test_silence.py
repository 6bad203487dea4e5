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


PRINTS = """
import io, sys
import numpy as np
import soundfile
from earmark.parallel.silence import silenced_libraries, silence_process
memory = io.BytesIO()
soundfile.write(memory, np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 16000, format="CAF", subtype="ALAC_16")
damaged = bytearray(memory.getvalue())
at = damaged.index(b"pakt") + 12 + 24
damaged[at : at + 8] = b"\\xff" * 8  # libsndfile prints that a number of this table does not end
def read():
    try:
        soundfile.read(io.BytesIO(damaged))
    except soundfile.SoundFileError:
        pass
def read_silently():
    with silenced_libraries():
        read()
        print("python")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="libsndfile prints through another C library")
@pytest.mark.parametrize(
    ("call", "is_silent"), [("read()", False), ("read_silently()", True), ("silence_process(); read()", True)]
)
def test_libsndfile_does_not_print_on_standard_output(call: str, is_silent: bool) -> None:
    done = subprocess.run([sys.executable, "-c", PRINTS + call], capture_output=True, text=True, check=True)
    assert ("alac" not in done.stdout) == is_silent
    assert ("python" in done.stdout) == (call == "read_silently()")
