"""`earmark pack`."""

import json
from pathlib import Path

import pytest

from earmark import cli, packing

parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
pytest.importorskip("fsspec", reason="fsspec is not installed")

Capture = pytest.CaptureFixture[str]


def test_pack_prints_its_cost_and_that_of_two_million_clips(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "out"
    words = ["pack", f"folder:{clips}", str(out), "--split", "train", "--labels", "bell,hiss", "--clips-per-shard", "2"]
    short = ["--sample-rate", "16000", "--codec", "int16", "--jobs", "1"]
    assert cli.main([*words, *short]) == 0
    captured = capfd.readouterr()
    assert captured.out == f"parquet:{out}\n"
    manifest = json.loads((out / "pack.json").read_text())
    n_clips, n_shards = manifest["n_clips"], len(manifest["shards"])
    kept = parquet.read_table([out / shard["file"] for shard in manifest["shards"]])
    assert set(kept["split"].to_pylist()) == {"train"} and len(kept) == n_clips
    assert manifest["name"] == f"{clips.name} (split train; labels bell,hiss)"
    told = captured.err.splitlines()
    size = f"{manifest['n_bytes'] / n_clips / 1000:.3g} kB"
    assert told[0] == (
        f"{n_clips} clips, 0.00 hours, {manifest['n_bytes'] / 1000:.3g} kB in {n_shards} shards: {size} a clip"
    )
    assert told[1].startswith(f"{n_clips} clips packed by this call, ") and told[1].endswith(
        " a second in each process"
    )
    speed = told[1].split()[6]
    assert told[2].startswith(f"2 million such clips need 2,000,000 x {size} = ")
    assert f" GB and 2,000,000 / (1 process x {speed} clips/s) = " in told[2] and told[2].endswith(" hours")
    assert len(told) == 3

    assert cli.main([*words, *short, "--json", "-q"]) == 0
    captured = capfd.readouterr()
    assert captured.err == ""
    summary = json.loads(captured.out)
    assert summary.items() >= {"data": f"parquet:{out}", "n_clips": n_clips, "n_shards": n_shards, "n_made": 0}.items()
    assert summary["clips_per_second_of_a_process"] is None
    assert cli.main([*words, *short, "--seed", "1"]) == 1
    assert capfd.readouterr().err == (
        f"error: {out}: holds another pack, these differ: seed 0 -> 1; put them back or take another folder\n"
    )


def test_a_check_names_what_is_damaged(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "out"
    words = ["pack", f"folder:{clips}", str(out), "--sample-rate", "16000", "--jobs", "1", "--quiet"]
    assert cli.main([*words, "--json"]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert cli.main(["pack", f"parquet:{out}", "--check"]) == 0
    assert capfd.readouterr() == (f"2 shards whole, {summary['n_bytes'] / 1000:.3g} kB\n", "")
    (out / "train-00000-of-00001.parquet").unlink()
    assert cli.main(["pack", str(out), "--check"]) == 1
    assert capfd.readouterr() == (
        "1 of 2 shards damaged; the command that packed them writes them again\n",
        f"error: {out}: train-00000-of-00001.parquet: missing\n",
    )
    assert cli.main(["pack", str(out), "--check", "--json"]) == 1
    damaged = [{"file": "train-00000-of-00001.parquet", "error": "missing"}]
    assert json.loads(capfd.readouterr().out) == {"n_shards": 2, "n_bytes": summary["n_bytes"], "damaged": damaged}
    assert cli.main(words) == 0
    assert cli.main(["pack", str(out), "--check"]) == 0
    (out / "extra.parquet").touch()
    capfd.readouterr()
    assert cli.main(["pack", str(out), "--check"]) == 1
    assert capfd.readouterr() == (
        "0 of 2 shards damaged; remove 1 file not of it\n",
        f"error: {out}: extra.parquet: not of this pack\n",
    )


def test_unreadable_clips_are_reported(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "in" / "rain").mkdir(parents=True)
    source = next(clips.rglob("*.wav")).read_bytes()
    (tmp_path / "in" / "rain" / "a.wav").write_bytes(source)
    (tmp_path / "in" / "rain" / "b.wav").write_bytes(source[:100])
    words = ["pack", f"folder:{tmp_path / 'in'}", str(tmp_path / "out"), "--jobs", "1"]
    assert cli.main([*words, "-q"]) == 1
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("error: in: 1 of 2 clips cannot be read: rain/b.wav (")
    assert captured.err.endswith("repair them and give the same command again, or leave them out (--skip-bad)\n")
    assert cli.main([*words, "--skip-bad"]) == 0
    assert "\nnote: 1 clip could not be read: see pack.json\n" in capfd.readouterr().err


def test_a_pack_without_readable_clips_is_an_error(tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "in" / "rain").mkdir(parents=True)
    (tmp_path / "in" / "rain" / "a.wav").write_bytes(b"RIFF")
    words = ["pack", f"folder:{tmp_path / 'in'}", str(tmp_path / "out"), "--jobs", "1", "--skip-bad", "-q"]
    assert cli.main(words) == 1
    assert "1 of 1 clip cannot be read: rain/a.wav" in capfd.readouterr().err
    assert not (tmp_path / "out" / "pack.json").exists()


def test_a_check_takes_no_part_of_a_pack(tmp_path: Path, capfd: Capture) -> None:
    for flags in (["--split", "train"], ["--labels", "bell"], ["--skip-bad"]):
        assert cli.main(["pack", str(tmp_path), "--check", *flags]) == 2
        assert "--check reads a whole pack" in capfd.readouterr().err


def test_ctrl_c_reports_the_kept_shards(
    clips: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("earmark.packing.assembly.Pool.run", interrupted)
    assert cli.main(["pack", f"folder:{clips}", str(tmp_path / "out"), "--sample-rate", "16000"]) == 130
    assert capfd.readouterr().err == (
        f"error: stopped, 0 of 2 shards are in {tmp_path / 'out'}: the same command continues\n"
    )


def test_a_pack_above_the_rate_of_its_recordings_is_noted(clips: Path, tmp_path: Path, capfd: Capture) -> None:
    assert cli.main(["pack", f"folder:{clips}", str(tmp_path / "out"), "--jobs", "1"]) == 0
    assert "note: the recordings have a sample rate of 16000 Hz, the pack of 32000 Hz" in capfd.readouterr().err


def test_pack_without_pyarrow_says_what_to_install(
    clips: Path, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*arguments: object, **options: object) -> None:
        raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")

    monkeypatch.setattr(packing, "pack", missing)
    assert cli.main(["pack", f"folder:{clips}", str(tmp_path / "out"), "--sample-rate", "16000"]) == 1
    assert capfd.readouterr().err == (
        "error: pyarrow is not installed, which this command needs: pip install 'earmark[parquet]'\n"
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["OUT"], "OUT is missing"),
        (["IN", "OUT", "--check"], "--check takes one folder"),
        (["IN", "OUT", "--codec", "mp3"], "codec"),
        (["IN", "OUT", "--clips-per-shard", "0"], "--clips-per-shard: at least 1 was expected, not 0"),
        (["IN", "OUT", "--jobs", "0"], "--jobs"),
    ],
)
def test_pack_refuses_invalid_arguments(words: list[str], text: str, capfd: Capture) -> None:
    assert cli.main(["pack", *words]) == 2
    assert text in capfd.readouterr().err
