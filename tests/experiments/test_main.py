"""`python -m experiments`."""

import subprocess
import sys

import pytest

from experiments.__main__ import COMMANDS, app, main

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_explains_itself_with_examples_that_are_right_usage(command: str, capfd: Capture) -> None:
    assert main([command, "--help"]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith(f"Usage: python -m experiments {command}")
    assert f"Example:\n\n    python -m experiments {command}" in printed
    arguments = app[command].assemble_argument_collection(parse_docstring=True)
    assert [argument.name for argument in arguments if argument.show and not argument.parameter.help] == []
    _, _, *examples = COMMANDS[command]
    for example in examples:
        words = example.split()
        assert words[0] == command
        app.parse_args(words, exit_on_error=False, print_error=False)


def test_help_lists_the_commands(capfd: Capture) -> None:
    assert main(["--help"]) == 0
    printed = capfd.readouterr().out
    for command, (summary, *_) in COMMANDS.items():
        assert command in printed and summary[:30] in printed


def test_help_comes_without_the_heavy_libraries() -> None:
    code = """
import sys
from experiments.__main__ import main
main(["table1", "--help"])
heavy = {"torch", "lightning", "matplotlib"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else 0)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_experiments_run_as_a_module() -> None:
    words = [sys.executable, "-m", "experiments", "table2", "--report", "no-such-report.json"]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr.startswith("error: no-such-report.json") and len(run.stderr.splitlines()) == 1
