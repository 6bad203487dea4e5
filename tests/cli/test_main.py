"""Help and exit status of commands."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import earmark
from earmark import cli
from earmark.errors import EarmarkError

Capture = pytest.CaptureFixture[str]
LABELS = ("dog", "[bold]rain[/bold]", "Male speech, man speaking")


EARMARK = [sys.executable, "-c", "import sys; from earmark.cli import main; sys.exit(main())"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tga x", 'Unknown command "tga"'),
        ("tag", "FILES requires an argument"),
        ("tag x --topp 3", "Did you mean --top?"),
        ("tag x --top 3 --threshold 0.5", "--top, --threshold"),
        ("tag x --top 0", "Expected at least 1, got 0"),
        ("tag x --threshold 2", "Expected from 0 to 1, got 2"),
        ("tag x --format xml", '"table", "json", "csv"'),
        ("timeline", "FILE requires an argument"),
        ("timeline x --window long", 'unable to convert "long" into float'),
        ("evidence x", "LABEL requires an argument"),
        ("train", "--out requires an argument"),
        ("train --out y", "DATA is missing"),
        ("train folder:x --out y --pooling gmpa", 'Did you mean "gmap"?'),
        ("train folder:x --out y --width 0", "error: --width: at least 1 was expected, not 0"),
        ("evaluate model", "DATA requires an argument"),
        ("soundscapes folder:x y", "--n-clips requires an argument"),
        ("soundscapes folder:x y --n-clips 3 --n-events 4 1", "--n-events: two whole numbers, the smaller first"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(words: str, message: str, capfd: Capture) -> None:
    assert cli.main(words.split()) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert "--help` explains" in captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("timeline {c} --window 0.1 --model {model}", "window: at least 0.4 s"),
        ("evidence {c} dgo --model {model}", "did you mean 'dog'"),
        ("tag {c} --model nothing", "unknown model 'nothing'"),
        ("tag {c} --model {model} --out {folder} --format csv", "error: {folder}: Is a directory"),
        ("train folder:{folder}/gone --out {folder}/run", "gone"),
        ("train {folder} --out {folder}/run", "say what kind of data it is"),
        ("train folder:x --out {folder}/run --config {folder}/gone.json", "gone.json: No such file"),
        ("train --out {folder}/run --resume", "no run to resume there"),
        ("evaluate {model} folder:{clips} --labels ,", "expected names joined by commas"),
        ("evaluate {model} esc50:{folder}", "meta/esc50.csv"),
        ("soundscapes nowhere:x y --n-clips 1", "unknown source 'nowhere'"),
    ],
)
def test_an_error_is_one_line_and_status_1(
    words: str, message: str, model: str, recordings: Path, clips: Path, capfd: Capture
) -> None:
    places = {"c": recordings / "c.flac", "model": model, "folder": recordings, "clips": clips}
    filled = [word.format(**places) for word in words.split()]
    assert cli.main(filled) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message.format(**places) in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("command", ["timeline", "evidence"])
def test_one_recording_that_cannot_be_read_is_one_line(
    command: str, model: str, recordings: Path, capfd: Capture
) -> None:
    label = ["dog"] if command == "evidence" else []
    assert cli.main([command, str(recordings / "b.wav"), *label, "--model", model]) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert captured.err.startswith(f"error: {recordings / 'b.wav'}: ")


@pytest.mark.parametrize("command", list(cli._COMMANDS))
def test_every_command_explains_itself_with_an_example(command: str, capfd: Capture) -> None:
    assert cli.main([command, "--help"]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith(f"Usage: earmark {command}")
    assert f"Example:\n\n    earmark {command}" in printed
    arguments = cli.app[command].assemble_argument_collection(parse_docstring=True)
    undescribed = [argument.name for argument in arguments if argument.show and not argument.parameter.help]
    assert undescribed == []


def test_the_list_of_commands_and_the_version(capfd: Capture) -> None:
    assert cli.main(["--help"]) == 0
    printed = capfd.readouterr().out
    for command, (summary, *_) in cli._COMMANDS.items():
        assert f"{command:<12} {summary}"[:60] in printed
    assert cli.main(["--version"]) == 0
    assert capfd.readouterr().out == f"{earmark.__version__}\n"


def test_examples_of_the_help_are_right_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_file", lambda path: False)
    monkeypatch.setattr(Path, "exists", lambda path, **_: True)
    for command, (_, _, *examples) in cli._COMMANDS.items():
        assert any(example.split()[:2] == ["earmark", command] for example in examples), f"{command} is not shown"
        for example in examples:
            words = example.split()
            if "--config" not in words:  # which reads a file
                cli.app.parse_args(words[1:], exit_on_error=False, print_error=False)


def test_unexpected_errors_are_reported(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    def ending(error: BaseException, *words: str) -> int:
        def run(*arguments: object) -> int:
            raise error

        monkeypatch.setattr(cli, "_run", run)
        return cli.main(words)

    assert ending(KeyboardInterrupt()) == 130
    assert ending(KeyboardInterrupt("stopped; go on with --resume")) == 130
    assert ending(ModuleNotFoundError("No module named 'matplotlib.pyplot'", name="matplotlib.pyplot")) == 1
    assert ending(EarmarkError("two\nlines\x1b[31m")) == 1
    assert ending(FileNotFoundError(2, "No such file or directory", "x\ny")) == 1
    assert capfd.readouterr().err.splitlines() == [
        "error: interrupted",
        "error: stopped; go on with --resume",
        "error: matplotlib.pyplot is not installed, which this command needs: pip install 'earmark[plot]'",
        "error: two lines [31m",
        "error: x y: No such file or directory",
    ]
    for command, package, extra in (
        ("bulk", "pyarrow.parquet", "bulk"),
        ("bulk", "ray", "bulk"),
        ("tag", "torch", "train"),
        ("demo", "torch", "train,plot"),
        ("export", "torch", "export"),
        ("export", "onnxscript", "export"),
        ("pack", "pyarrow", "parquet"),
        ("train", "fsspec", "parquet"),
    ):
        assert ending(ModuleNotFoundError(f"No module named {package!r}", name=package), command) == 1
        assert capfd.readouterr().err.endswith(f"this command needs: pip install 'earmark[{extra}]'\n")
    with pytest.raises(ModuleNotFoundError):
        ending(ModuleNotFoundError("No module named 'earmark.gone'", name="earmark.gone"))


# the process


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["tag", "--help"], ["train", "--help"], ["tga"]])
def test_help_comes_without_the_heavy_libraries(words: list[str]) -> None:
    code = """
import sys
from earmark.cli import main
main(sys.argv[1:])
heavy = {"torch", "tensorboard", "matplotlib", "sklearn", "scipy"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else 0)
"""
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_list_of_commands_does_without_numpy() -> None:
    code = "import sys; from earmark.cli import main; main(['--help']); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.fixture
def many(recordings: Path, tmp_path: Path) -> str:
    """A folder of 2000 recordings."""
    for number in range(2000):
        os.link(recordings / "c.flac", tmp_path / f"{number}.flac")
    return str(tmp_path)


def test_a_closed_output_pipe_ends_the_command_quietly(exported: Path, many: str) -> None:
    words = [*EARMARK, "tag", many, "--model", str(exported), "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read().decode()
        assert process.wait() == 1
    assert "Traceback" not in told
    assert "Exception" not in told


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX closes the streams")
@pytest.mark.parametrize("closed", ["2>&-", "<&-", "<&- 2>&-"])
def test_closed_standard_streams_are_no_obstacle(closed: str, exported: Path, recordings: Path) -> None:
    words = [sys.executable, "-m", "earmark", "tag", str(recordings / "c.flac"), "--model", str(exported), "--json"]
    run = subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *words], stdout=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 0
    assert json.loads(run.stdout)["file"].endswith("c.flac")


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
def test_ctrl_c_is_one_line_and_status_130(model: str, many: str) -> None:
    words = [*EARMARK, "tag", many, "--model", model, "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    assert process.returncode == 130
    assert told == "error: interrupted\n"


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_during_the_imports_is_one_line() -> None:
    # the program interrupts itself when the first module of earmark.cli is imported
    script = """
import os, signal, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "earmark.cli.flags":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
signal.signal(signal.SIGINT, signal.default_int_handler)
from earmark.__main__ import run
run()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")
