"""`earmark timeline`."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import earmark
from earmark import cli
from earmark.audio.recording import Audio, save_audio
from earmark.cli.screen import rounded

Capture = pytest.CaptureFixture[str]
LABELS = ("dog", "[bold]rain[/bold]", "Male speech, man speaking")


def test_timeline_prints_the_object_of_the_contract(model: str, recordings: Path, capfd: Capture) -> None:
    words = ["timeline", str(recordings / "c.flac"), "--model", model, "--window", "0.8", "--threshold", "0"]
    assert cli.main([*words, "--format", "json"]) == 0
    printed = json.loads(capfd.readouterr().out)
    assert list(printed) == ["file", "duration", "window", "hop", "labels", "onsets", "scores", "events"]
    assert (printed["duration"], printed["window"], printed["hop"]) == (2.0, 0.8, 0.4)
    assert printed["labels"] == list(LABELS)
    assert printed["onsets"] == [0.0, 0.4, 0.8, 1.2, 1.6]
    assert np.shape(printed["scores"]) == (5, 3)
    assert [event["label"] for event in printed["events"]] == list(LABELS)
    assert printed["events"][0].items() >= {"onset": 0.0, "offset": 2.0}.items()


def test_timeline_for_people_spreadsheets_and_audacity(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture
) -> None:
    words = ["timeline", str(recordings / "c.flac"), "--model", model, "--threshold", "0"]
    assert cli.main(words) == 0
    assert "0.0 - 2.0 s" in capfd.readouterr().out
    assert cli.main([*words, "--format", "csv"]) == 0
    rows = list(csv.reader(io.StringIO(capfd.readouterr().out)))
    assert rows[0] == ["file", "onset", "offset", "label", "score"]
    assert rows[1][1:4] == ["0.0", "2.0", "dog"]
    assert cli.main([*words, "--format", "audacity", "--out", str(tmp_path / "labels.txt")]) == 0
    assert (tmp_path / "labels.txt").read_text().splitlines()[0] == "0.000000\t2.000000\tdog"
    assert cli.main([*words[:-1], "1"]) == 0
    assert "nothing reaches the threshold" in capfd.readouterr().out


def test_the_suffix_of_out_decides_the_format(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    words = ["timeline", str(recordings / "c.flac"), "--model", model, "--quiet"]
    for name, form in (
        ("t.json", "json"),
        ("t.csv", "csv"),
        ("t.jsonl", "jsonl"),
        ("t", "table"),
        ("t.txt", "audacity"),
    ):
        assert cli.main([*words, "--out", str(tmp_path / name)]) == 0
        assert capfd.readouterr() == ("", "")
        assert cli.main([*words, "--format", form]) == 0
        assert capfd.readouterr().out == (tmp_path / name).read_text(encoding="utf-8")
    for wrong, message in (
        (["--out", str(tmp_path / "t.xml")], "or name the format"),
        (["--json", "--format", "csv"], "give one of them"),
        (["--out", model, "--json"], "itself, which would be lost"),
    ):
        assert cli.main([*words, *wrong]) == 2
        assert message in capfd.readouterr().err


def test_a_damaged_file_is_reported_in_json_too(model: str, recordings: Path, capfd: Capture) -> None:
    damaged = str(recordings / "b.wav")
    assert cli.main(["timeline", damaged, "--model", model, "--json"]) == 1
    captured = capfd.readouterr()
    assert json.loads(captured.out) == {"file": damaged, "error": captured.err.removeprefix("error: ").strip()}


def test_timeline_takes_the_thresholds_of_the_model(
    model: str, recordings: Path, tmp_path: Path, capfd: Capture
) -> None:
    network = earmark.hub.load_network(model)
    network.thresholds = (0.0, 1.0, 0.0)
    network.save(tmp_path / "m.safetensors")
    words = ["timeline", str(recordings / "c.flac"), "--json", "--model"]
    for more in ([], ["--threshold", "auto"]):
        assert cli.main([*words, str(tmp_path / "m.safetensors"), *more]) == 0
        events = json.loads(capfd.readouterr().out)["events"]
        assert {event["label"] for event in events} == {LABELS[0], LABELS[2]}
    assert cli.main([*words, model, "--threshold", "auto"]) == 1
    assert "no thresholds of its own" in capfd.readouterr().err
    for wrong in (["--threshold", "2"], ["--release", "0"], ["--window", "0.1"]):
        assert cli.main([*words, model, *wrong]) != 0
        assert wrong[0] in capfd.readouterr().err


def test_timeline_draws(model: str, recordings: Path, tmp_path: Path, capfd: Capture) -> None:
    pytest.importorskip("matplotlib")
    words = ["timeline", str(recordings / "a.wav"), "--model", model, "--plot"]
    for threshold in ("0", "1"):
        assert cli.main([*words, str(tmp_path / "t.png"), "--threshold", threshold]) == 0
        assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")
    capfd.readouterr()
    assert cli.main([*words, str(tmp_path / "t.jpg")]) == 2
    assert cli.main([*words, str(tmp_path / "t.png"), "--out", str(tmp_path / "t.png"), "--format", "csv"]) == 2
    printed = capfd.readouterr().err.splitlines()
    assert (
        "a file that ends in .png, .svg, .pdf was expected" in printed[0]
        and "itself, which would be lost" in printed[1]
    )


def test_timeline_of_standard_input(model: str, recordings: Path) -> None:
    words = [sys.executable, "-m", "earmark", "timeline", "-", "--model", model, "--json"]
    done = subprocess.run(words, input=(recordings / "a.wav").read_bytes(), capture_output=True, check=False)
    expected = earmark.load(model).timeline(recordings / "a.wav").scores.tolist()
    printed = json.loads(done.stdout)
    assert printed["file"] == "-" and printed["scores"] == [[rounded(score) for score in row] for row in expected]


def test_the_sound_track_of_a_video_is_chosen(model: str, tmp_path: Path, capfd: Capture) -> None:
    av = pytest.importorskip("av")
    path, rate = tmp_path / "camera.mkv", 16000
    noise = (np.random.default_rng(0).standard_normal(2 * rate) * 3000).astype(np.int16)
    with av.open(str(path), "w", format="matroska") as container:
        streams = [container.add_stream("pcm_s16le", rate=rate, layout="mono", format="s16") for _ in range(2)]
        for stream, sound in zip(streams, (np.zeros_like(noise), noise), strict=True):
            frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    save_audio(tmp_path / "second.wav", Audio(noise, rate))
    alone, *chosen = (["second.wav"], ["camera.mkv", "--track", "2"], ["camera.mkv", "--track", "mix"], ["camera.mkv"])
    printed = []
    for name, *track in (alone, *chosen):
        assert cli.main(["timeline", str(tmp_path / name), *track, "--model", model, "--json"]) == 0
        printed.append(capfd.readouterr())
    scores = [json.loads(one.out)["scores"] for one in printed]
    assert scores[1] == scores[0] and scores[2] != scores[0] != scores[3]
    assert ["has 2 sound tracks" in one.err for one in printed] == [False, False, False, True]
    evidence = ["evidence", str(path), "dog", "--model", model, "--json"]
    assert cli.main(evidence) == cli.main([*evidence, "--track", "2"]) == 0
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert first["score"] != second["score"]
