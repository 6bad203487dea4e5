"""`earmark serve`."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from websockets.sync.client import connect

from earmark import cli


def test_it_prints_its_address_answers_and_ends_with_sigterm_leaving_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    environment.pop("ORT_DISABLE_TELEMETRY", None)  # earmark itself keeps ONNX Runtime from writing statistics
    command = [sys.executable, "-m", "earmark", "serve", "--port", "0", "--token", "secret"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            line = process.stderr.readline()
            assert line.startswith("earmark-esc50 at http://localhost:") and line.endswith(" (Ctrl-C stops)\n")
            request = urllib.request.Request(
                f"{line.split()[2]}/api/models", headers={"Authorization": "Bearer secret"}
            )
            with urllib.request.urlopen(request) as answer:
                assert json.load(answer)["models"][0]["name"] == "earmark-esc50"
            with connect(
                f"{line.split()[2].replace('http', 'ws')}/api/stream",
                additional_headers={"Authorization": "Bearer secret"},
                open_timeout=600,
            ) as stream:
                assert stream.protocol.extensions == [], "a short message could unpack to a very long one"
            assert len(list(tmp_path.glob("earmark-serve-*"))) == 1
            process.send_signal(signal.SIGTERM)
            assert (process.wait(), process.stderr.read()) == (0, "")
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--host", "0.0.0.0"], "--host: other machines could use a server at 0.0.0.0 without a token"),
        (["--token", ""], "--token: a word of ASCII"),
        (["--token", "for bidden"], "--token: a word of ASCII"),
        (["--token", "geheimnís"], "--token: a word of ASCII"),
        (["--device", "tpu"], "--device: auto, cpu, cuda, cuda:N or mps was expected, not 'tpu'"),
        (["--queue", "-1"], "--queue: at least 0"),
        (["--model", "earmark-esc50", "--model", "earmark-esc50"], "another model is named earmark-esc50"),
    ],
)
def test_invalid_flags_are_refused(flags: list[str], words: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", *flags]) == 2
    assert words in capfd.readouterr().err


def test_a_folder_that_cannot_keep_uploads_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["serve", "--keep", str(tmp_path / "file")]) == 1
    assert f"--keep: {tmp_path / 'file'}: a folder to write to was expected" in capfd.readouterr().err


def test_a_port_in_use_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert cli.main(["serve", "--port", str(port)]) == 1
    error = capfd.readouterr().err
    assert f"cannot listen at 127.0.0.1:{port}" in error and "--port" in error
