"""The commands: what they print where, and how they end."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import earmark
from earmark import cli
from earmark.audio import Audio, save_audio
from earmark.cli import screen
from earmark.data.synthetic import synthetic_bank
from earmark.errors import EarmarkError
from earmark.files import atomic_write
from earmark.frontend import FrontendConfig
from earmark.labels import LabelSet
from earmark.network import Network, NetworkConfig

LABELS = LabelSet(("dog", "[bold]rain[/bold]", "Male speech, man speaking"), ("/d", "/r", "/s"))
EARMARK = [sys.executable, "-c", "import sys; from earmark.cli import main; sys.exit(main())"]

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "best.safetensors"
    Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LABELS).save(path)
    return str(path)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings in different formats and rates, one in a sub-folder, and a damaged one among them."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    (folder / "d").mkdir()
    for name, rate, n_channels in (("a.wav", 44100, 2), ("c.flac", 16000, 1), ("d/e.ogg", 22050, 1)):
        waveform = (rng.standard_normal((n_channels, 2 * rate)) / 10).astype(np.float32)
        save_audio(folder / name, Audio(waveform, rate), subtype="VORBIS" if name.endswith("ogg") else "PCM_16")
    whole = (folder / "a.wav").read_bytes()
    (folder / "b.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no recording")
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of labelled clips with two splits, one second each."""
    folder = tmp_path_factory.mktemp("clips")
    for clip in synthetic_bank(n_per_label=4).select(labels=("bell", "hiss", "siren")):
        path = folder / str(clip.split) / clip.labels[0] / f"{clip.id}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_audio(path, Audio(clip.load(16000).waveform[8000:24000], 16000))
    return folder


def lines(text: str) -> list[str]:
    return text.strip().split("\n")


# tag


def test_tag_prints_json_lines_in_order_and_fails_for_the_damaged_file(
    model: str, recordings: Path, capfd: Capture
) -> None:
    missing = str(recordings / "gone.wav")
    assert cli.main(["tag", missing, str(recordings), "--model", model, "--format", "json", "--top", "2"]) == 1
    captured = capfd.readouterr()
    results = [json.loads(line) for line in lines(captured.out)]
    names = [missing, *(str(recordings / name) for name in ("a.wav", "b.wav", "c.flac", "d/e.ogg"))]
    assert [result["file"] for result in results] == names
    assert [set(result) for result in results] == [
        {"file", "error"},
        {"file", "duration", "tags"},
        {"file", "error"},
        {"file", "duration", "tags"},
        {"file", "duration", "tags"},
    ]
    assert results[1]["duration"] == 2.0
    assert [set(tag) for tag in results[1]["tags"]] == [{"label", "score"}] * 2
    assert results[1]["tags"][0]["score"] >= results[1]["tags"][1]["score"]
    assert missing in results[0]["error"]
    told = lines(captured.err)
    assert [line.startswith("error: ") for line in told] == [True, True, False]
    assert "b.wav" in told[1]
    assert told[2].startswith("tagged 3 of 5 files in ")
    assert told[2].endswith(", 2 could not be read")


def test_tag_says_what_the_library_says(model: str, recordings: Path, capfd: Capture) -> None:
    path = recordings / "c.flac"
    assert cli.main(["tag", str(path), "--model", model, "--json", "--threshold", "0", "--quiet"]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    tags = earmark.load(model).tag(path, threshold=0.0)
    expected = [{"label": tag.label, "score": pytest.approx(tag.score, rel=1e-5)} for tag in tags]
    assert json.loads(captured.out)["tags"] == expected


def test_tag_prints_csv(model: str, recordings: Path, capfd: Capture) -> None:
    assert cli.main(["tag", str(recordings / "a.wav"), "--model", model, "--format", "csv"]) == 0
    rows = list(csv.reader(io.StringIO(capfd.readouterr().out)))
    assert rows[0] == ["file", "label", "score"]
    assert {row[0] for row in rows[1:]} == {str(recordings / "a.wav")}
    assert {row[1] for row in rows[1:]} == set(LABELS)
    assert all(0 < float(row[2]) < 1 for row in rows[1:])


def test_tag_prints_a_table_that_takes_labels_literally(model: str, recordings: Path, capfd: Capture) -> None:
    assert cli.main(["tag", str(recordings / "c.flac"), "--model", model]) == 0
    printed = capfd.readouterr().out
    assert lines(printed)[0] == f"{recordings / 'c.flac'}  2.0 s"
    assert all(label in printed for label in LABELS)
    assert "━━━" in printed


def test_tag_says_when_nothing_reaches_the_threshold(model: str, recordings: Path, capfd: Capture) -> None:
    assert cli.main(["tag", str(recordings / "c.flac"), "--model", model, "--threshold", "1"]) == 0
    assert "nothing reaches the threshold" in capfd.readouterr().out


@pytest.mark.parametrize(("name", "form"), [("t.csv", "csv"), ("t.jsonl", "json"), ("t.txt", "table")])
def test_tag_writes_a_file_whose_suffix_says_the_format(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture, name: str, form: str
) -> None:
    words = ["tag", str(recordings / "c.flac"), "--model", model]
    assert cli.main([*words, "--format", form]) == 0
    printed = capfd.readouterr().out
    assert cli.main([*words, "--out", str(tmp_path / "new" / name)]) == 0
    assert (tmp_path / "new" / name).read_text(encoding="utf-8") == printed
    assert capfd.readouterr().out == ""
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / name]


def test_tag_of_a_folder_without_recordings(model: str, tmp_path: Path, recordings: Path, capfd: Capture) -> None:
    assert cli.main(["tag", str(tmp_path), str(recordings / "c.flac"), "--model", model, "--json"]) == 1
    captured = capfd.readouterr()
    assert [set(json.loads(line)) for line in lines(captured.out)] == [{"file", "error"}, {"file", "duration", "tags"}]
    assert captured.err.startswith(f"error: {tmp_path}: no recording in this folder")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such a name")
def test_tag_of_names_that_are_no_text(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b[31m.flac")
    for form in ("json", "csv", "table"):
        assert cli.main(["tag", odd, str(recordings / "c.flac"), "--model", model, "--format", form]) == 1
        captured = capfd.readouterr()
        assert lines(captured.err)[0] == f"error: {tmp_path}/\\udcff [31m.flac: no such file"
        assert "c.flac" in captured.out


def test_tag_without_a_model_says_how_to_get_one(recordings: Path, capfd: Capture) -> None:
    assert cli.main(["tag", str(recordings)]) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: the model 'earmark-esc50' is not shipped")
    assert len(lines(captured.err)) == 1


# timeline and evidence


def test_timeline_prints_the_object_of_the_contract(model: str, recordings: Path, capfd: Capture) -> None:
    words = ["timeline", str(recordings / "c.flac"), "--model", model, "--window", "0.8", "--threshold", "0"]
    assert cli.main([*words, "--format", "json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert list(told) == ["file", "duration", "window", "hop", "labels", "onsets", "scores", "events"]
    assert (told["duration"], told["window"], told["hop"]) == (2.0, 0.8, 0.4)
    assert told["labels"] == list(LABELS)
    assert told["onsets"] == [0.0, 0.4, 0.8, 1.2, 1.6]
    assert np.shape(told["scores"]) == (5, 3)
    assert [event["label"] for event in told["events"]] == list(LABELS)
    assert told["events"][0].items() >= {"onset": 0.0, "offset": 2.0}.items()


def test_timeline_for_people_spreadsheets_and_audacity(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture
) -> None:
    words = ["timeline", str(recordings / "c.flac"), "--model", model, "--threshold", "0"]
    assert cli.main(words) == 0
    assert "0.0 - 2.0 s" in capfd.readouterr().out
    assert cli.main([*words, "--format", "csv"]) == 0
    rows = list(csv.reader(io.StringIO(capfd.readouterr().out)))
    assert rows[0] == ["file", "label", "onset", "offset", "score"]
    assert rows[1][1:4] == ["dog", "0.0", "2.0"]
    assert cli.main([*words, "--format", "audacity", "--out", str(tmp_path / "labels.txt")]) == 0
    assert (tmp_path / "labels.txt").read_text().splitlines()[0] == "0.000000\t2.000000\tdog"
    assert cli.main([*words[:-1], "1"]) == 0
    assert "nothing reaches the threshold" in capfd.readouterr().out


def test_evidence(model: str, recordings: Path, capfd: Capture) -> None:
    words = ["evidence", str(recordings / "c.flac"), "/d", "--model", model]
    assert cli.main(words) == 0
    assert "1.6 - 2.0 s" in capfd.readouterr().out
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["label"] == "dog"
    assert told["onsets"] == [0.0, 0.4, 0.8, 1.2, 1.6]
    assert len(told["weights"]) == 5
    assert np.shape(told["attention"]) == (2, 5)


@pytest.mark.parametrize("command", ["timeline", "evidence"])
def test_one_recording_that_cannot_be_read_is_one_line(
    command: str, model: str, recordings: Path, capfd: Capture
) -> None:
    label = ["dog"] if command == "evidence" else []
    assert cli.main([command, str(recordings / "b.wav"), *label, "--model", model]) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert len(lines(captured.err)) == 1
    assert captured.err.startswith(f"error: {recordings / 'b.wav'}: ")


# from clips to figures


def test_soundscapes_then_train_then_evaluate_then_repeat(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    mixed, run = f"soundscapes:{tmp_path / 'mixed'}", tmp_path / "run"
    words = ["soundscapes", f"folder:{clips}", str(tmp_path / "mixed"), "--n-clips", "6", "--split", "train", "--seed"]
    short = ["--duration", "1", "--event-duration", "0.2", "0.4", "--n-events", "1", "2"]
    assert cli.main([*words, "3", *short]) == 0
    captured = capfd.readouterr()
    assert captured.out == f"{mixed}\n"
    assert captured.err.startswith("6 soundscapes with ")
    assert cli.main([*words, "3", *short, "--json", "-q"]) == 0
    captured = capfd.readouterr()
    assert json.loads(captured.out).items() >= {"data": mixed, "n_clips": 6, "seed": 3}.items()
    assert captured.err == ""
    assert cli.main([*words, "4", *short]) == 1
    assert "holds other soundscapes" in capfd.readouterr().err

    small = ["--width", "2", "--n-heads", "2", "--sample-rate", "16000", "--n-workers", "0", "--no-balanced"]
    budget = ["--n-clips-seen", "8", "--batch-size", "4", "--device", "cpu"]
    held_out = ["--valid", f"folder:{clips}", "--valid-split", "test"]
    assert cli.main(["train", mixed, *held_out, "--out", str(run), *small, *budget, "--json", "-q"]) == 0
    captured = capfd.readouterr()
    summary = json.loads(captured.out)
    assert summary["best"] == str(run / "best.safetensors")
    assert summary["best_epoch"]["clips_seen"] in (4, 8)
    assert captured.err == ""
    record = json.loads((run / "run.json").read_text())
    assert record["request"] == {
        "data": mixed,
        "split": None,
        "valid": f"folder:{clips}",
        "valid_split": "test",
        "labels": None,
    }
    assert record["config"].items() >= {"width": 2, "balanced": False, "batch_size": 4}.items()

    assert cli.main(["train", "--config", str(run / "run.json"), "--out", str(tmp_path / "again"), "-q"]) == 0
    assert capfd.readouterr().out.startswith(f"{tmp_path / 'again' / 'best.safetensors'}  (epoch ")
    assert (tmp_path / "again" / "last.safetensors").read_bytes() == (run / "last.safetensors").read_bytes()

    assert cli.main(["train", "--resume", "--out", str(run), "-q"]) == 0, "a finished run is its result"
    assert cli.main(["train", "--resume", "--out", str(run), "--width", "4"]) == 1
    assert "width 2 -> 4" in capfd.readouterr().err

    _check_evaluation(clips, run / "best.safetensors", tmp_path / "report", capfd)


def _check_evaluation(clips: Path, model: Path, out: Path, capfd: Capture) -> None:
    words = ["evaluate", str(model), f"folder:{clips}", "--split", "test"]
    assert cli.main([*words, "--json", "--out", str(out)]) == 0
    captured = capfd.readouterr()
    report = json.loads(captured.out)
    assert report == json.loads((out / "report.json").read_text())
    assert (report["n_clips"], report["n_labels"], report["model"]) == (3, 3, str(model))
    assert "(split test)" in report["data"]
    assert "report.json" in captured.err
    assert cli.main([*words, "--labels", "bell, siren", "--quiet"]) == 0
    captured = capfd.readouterr()
    assert lines(captured.out)[0].startswith("mAP ")
    assert "bell" in captured.out
    assert "hiss" not in captured.out
    assert captured.err == ""


def test_flags_override_a_file_of_settings(tmp_path: Path, clips: Path, capfd: Capture) -> None:
    settings = tmp_path / "small.toml"
    settings.write_text('width = 3\nn_heads = 2\nbalanced = false\nlearning_rate = 0.1\nn_workers = 0\nlabels = "bell"')
    words = ["train", f"folder:{clips}", "--config", str(settings), "--out", str(tmp_path / "run"), "--width", "2"]
    tiny = ["--n-clips-seen", "2", "--batch-size", "2", "--sample-rate", "16000", "--labels", "bell,hiss", "--balanced"]
    assert cli.main([*words, *tiny, "-q"]) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    expected = {"width": 2, "n_heads": 2, "balanced": True, "learning_rate": 0.1, "n_workers": 0, "batch_size": 2}
    assert record["config"].items() >= expected.items()
    assert record["request"]["labels"] == "bell,hiss"


def test_data_of_the_command_line_leave_the_splits_and_labels_of_a_file_behind(
    tmp_path: Path, clips: Path, capfd: Capture
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"data": "folder:gone", "split": "1", "valid": "folder:gone", "labels": "cat", "width": 2}')
    words = ["train", "--config", str(settings), "--out", str(tmp_path / "run"), "--split", "third"]
    assert cli.main([*words, f"folder:{clips}"]) == 1
    assert f"{clips.name}: no split third; the splits are test, train" in capfd.readouterr().err
    assert cli.main(words) == 1
    assert "gone" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"widht": 3}', "did you mean 'width'"),
        ('{"config": {"width": 0}}', "width: 1 or more was expected, not 0"),
        ('{"config": {}, "request": {"dat": "x"}}', "dat='x' is no description of data"),
        ('{"split": [1, 2]}', "split=[1, 2] is no description of data"),
        ("[1]", "settings by name were expected, not a list"),
        ("{", "neither a run.json nor a JSON or TOML file of settings"),
    ],
)
def test_a_file_of_settings_that_cannot_be(tmp_path: Path, capfd: Capture, text: str, message: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(text)
    assert cli.main(["train", "folder:x", "--out", str(tmp_path / "run"), "--config", str(path)]) == 2
    told = capfd.readouterr().err
    assert told.startswith(f"error: {path}: ")
    assert message in told
    assert len(lines(told)) == 1


# how commands end


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tga x", 'Unknown command "tga"'),
        ("tag", "FILES requires an argument"),
        ("tag x --topp 3", "Did you mean --top?"),
        ("tag x --top 3 --threshold 0.5", "--top, --threshold"),
        ("tag x --top 0", "Must be >= 1"),
        ("tag x --threshold 2", "Must be <= 1"),
        ("tag x --format xml", '"table", "json", "csv"'),
        ("timeline", "FILE requires an argument"),
        ("timeline x --window long", 'unable to convert "long" into float'),
        ("evidence x", "LABEL requires an argument"),
        ("train", "--out requires an argument"),
        ("train --out y", "DATA is missing"),
        ("train folder:x --out y --pooling gmpa", 'Did you mean "gmap"?'),
        ("train folder:x --out y --width 0", "width: 1 or more was expected, not 0"),
        ("evaluate model", "DATA requires an argument"),
        ("soundscapes folder:x y", "--n-clips requires an argument"),
        ("soundscapes folder:x y --n-clips 3 --n-events 4 1", "n_events must be two numbers, the smaller first"),
    ],
)
def test_wrong_usage_is_one_line_and_2(words: str, message: str, capfd: Capture) -> None:
    assert cli.main(words.split()) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert len(lines(captured.err)) == 1
    assert "--help` explains" in captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("timeline {c} --window 0.1 --model {model}", "window: at least 0.4 s"),
        ("evidence {c} dgo --model {model}", "did you mean 'dog'"),
        ("tag {c} --model nothing", "no model called 'nothing'"),
        ("tag {c} --model {model} --out {folder}", "error: {folder}: Is a directory"),
        ("train folder:{folder}/gone --out {folder}/run", "gone"),
        ("train {folder} --out {folder}/run", "say what kind of data it is"),
        ("train folder:x --out {folder}/run --config {folder}/gone.json", "gone.json: No such file"),
        ("train --out {folder}/run --resume", "no run to resume there"),
        ("evaluate {model} folder:{clips} --labels ,", "names joined by commas were expected"),
        ("evaluate {model} esc50:{folder}", "meta/esc50.csv"),
        ("soundscapes nowhere:x y --n-clips 1", "unknown source 'nowhere'"),
    ],
)
def test_work_that_cannot_be_done_is_one_line_and_1(
    words: str, message: str, model: str, recordings: Path, clips: Path, capfd: Capture
) -> None:
    places = {"c": recordings / "c.flac", "model": model, "folder": recordings, "clips": clips}
    filled = [word.format(**places) for word in words.split()]
    assert cli.main(filled) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message.format(**places) in captured.err
    assert len(lines(captured.err)) == 1


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
    for command, (_, _, *examples) in cli._COMMANDS.items():
        assert examples, f"{command} shows no example"
        for example in examples:
            words = example.split()
            assert words[:2] == ["earmark", command]
            if "--config" not in words:  # which reads a file
                cli.app.parse_args(words[1:], exit_on_error=False, print_error=False)


def test_what_goes_wrong_beyond_the_expected(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    def ending(error: BaseException) -> int:
        def run(words: list[str]) -> int:
            raise error

        monkeypatch.setattr(cli, "_run", run)
        return cli.main([])

    assert ending(KeyboardInterrupt()) == 130
    assert ending(KeyboardInterrupt("stopped; go on with --resume")) == 130
    assert ending(ModuleNotFoundError("No module named 'matplotlib.pyplot'", name="matplotlib.pyplot")) == 1
    assert ending(EarmarkError("two\nlines\x1b[31m")) == 1
    assert ending(FileNotFoundError(2, "No such file or directory", "x\ny")) == 1
    assert lines(capfd.readouterr().err) == [
        "error: interrupted",
        "error: stopped; go on with --resume",
        "error: matplotlib.pyplot is not installed, which this command needs: pip install 'earmark[plot]'",
        "error: two lines [31m",
        "error: x y: No such file or directory",
    ]
    with pytest.raises(ModuleNotFoundError):
        ending(ModuleNotFoundError("No module named 'earmark.gone'", name="earmark.gone"))


def test_a_file_is_not_written_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(EarmarkError), screen.destination(tmp_path / "out.txt") as stream:
        stream.write("half")
        raise EarmarkError("no more")
    assert list(tmp_path.iterdir()) == []
    with atomic_write(tmp_path / "there.txt") as temporary:
        temporary.write_text("whole")
    assert (tmp_path / "there.txt").read_text() == "whole"


# the process


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["tag", "--help"], ["train", "--help"], ["tga"]])
def test_help_comes_without_the_heavy_libraries(words: list[str]) -> None:
    code = """
import sys
from earmark.cli import main
main(sys.argv[1:])
heavy = {"torch", "lightning", "matplotlib", "sklearn", "scipy"} & set(sys.modules)
sys.exit(f"loaded {heavy}" if heavy else 0)
"""
    run = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_the_list_of_commands_does_without_numpy() -> None:
    code = "import sys; from earmark.cli import main; main(['--help']); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_reader_that_has_had_enough(model: str, recordings: Path) -> None:
    words = [*EARMARK, "tag", *([str(recordings / "c.flac")] * 50), "--model", model, "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read().decode()
        assert process.wait() == 1
    assert "Traceback" not in told
    assert "Exception" not in told


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
def test_ctrl_c_is_one_line_and_130(model: str, recordings: Path) -> None:
    words = [*EARMARK, "tag", *([str(recordings / "c.flac")] * 2000), "--model", model, "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told == "error: interrupted\n"
    assert time.monotonic() - start < 10
