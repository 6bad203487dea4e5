"""Packs: every clip comes back, the same bytes whoever made them and however often they were killed."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.recording import Audio, save_audio
from earmark.data import Clip, Dataset, FileAudio
from earmark.errors import AudioError, ConfigError, DataError, EarmarkWarning
from earmark.labels import LabelSet

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.data.packs import JOURNAL, MANIFEST  # noqa: E402
from earmark.data.parquet import read_parquet  # noqa: E402
from earmark.data.parquet_audio import PackedAudio  # noqa: E402
from earmark.packing import PackConfig, check, pack, run  # noqa: E402
from earmark.packing.plan import Skipped, make_plan  # noqa: E402
from earmark.packing.shard import encode, write_shard  # noqa: E402

RATE = 16000
LABELS = LabelSet(("dog", "Musik, schöne"), ("/d", "/m"))
CONFIG = PackConfig(sample_rate=RATE, clips_per_shard=8)

SCRIPT = '''
"""Packs made-up sounds in a process that can be killed: OUT, processes, what the sounds do."""
import multiprocessing, os, resource, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from earmark.audio.recording import Audio
from earmark.data import Clip, Dataset
from earmark.labels import LabelSet
from earmark.packing import PackConfig, pack

@dataclass
class Sound:
    number: int
    does: str

    def load(self, sample_rate):
        (Path(__file__).parent / f"worker-{os.getpid()}").touch()
        if self.does.isdigit():  # waits when so many shards are whole, for a word or the parent's death
            is_over = lambda: (Path(__file__).parent / "go").exists() or not multiprocessing.parent_process().is_alive()
            while len(list(Path(sys.argv[1]).glob("[!.]*.parquet"))) >= int(self.does) and not is_over():
                time.sleep(0.01)
        if self.does == "deadly" and self.number == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        rng = np.random.default_rng(self.number)
        return Audio((rng.standard_normal(400 + self.number) / 5).astype(np.float32), sample_rate)

if __name__ == "__main__":
    out, jobs, does = sys.argv[1:]
    if does == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
    clips = tuple(Clip(f"c{i}", ("dog",), Sound(i, does), split=("train", "test")[i % 3 == 0]) for i in range(60))
    try:
        config = PackConfig(sample_rate=16000, clips_per_shard=8)
        pack(Dataset("made up", LabelSet(("dog",)), clips), out, config, jobs=int(jobs))
    except (KeyboardInterrupt, Exception) as error:
        sys.exit(f"{type(error).__name__}: {error}")
'''


@pytest.fixture
def script(tmp_path: Path):
    """Starts SCRIPT on OUT with so many processes, and sounds that do something."""
    (tmp_path / "script.py").write_text(SCRIPT)
    source = Path(__file__).parents[2] / "src"

    def start(out: Path, jobs: int = 2, does: str = "sound") -> subprocess.Popen[str]:
        words = [sys.executable, str(tmp_path / "script.py"), str(out), str(jobs), does]
        environment = {**os.environ, "PYTHONPATH": str(source)}
        return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)

    return start


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Clips of several lengths and rates, labelled in several ways, with names that are hard to keep."""
    rng = np.random.default_rng(0)
    clips = []
    ids = (
        "-kY_x",
        "a/b/../c.wav",
        "/abs/d.wav",
        "C:\\e",
        "früh 🐦",
        "line\nbreak",
        "a\0b",
        "\udcffbytes",
        "x" * 300,
        "y",
    )
    for number, id_ in enumerate(ids):
        path = tmp_path / "in" / f"{number}.wav"
        samples = (rng.standard_normal(200 + 37 * number) / 5).astype(np.float32)
        save_audio(path, Audio(samples, RATE if number % 2 else 22050))
        labels = ((), ("dog",), ("Musik, schöne", "dog"))[number % 3]
        group = None if number % 2 else f"g{number // 4}"
        clips.append(Clip(id_, labels, FileAudio(path), ("train", None, "te/st")[number % 3], group))
    return Dataset("in", LABELS, tuple(clips))


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def hidden(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


def test_every_clip_comes_back(data: Dataset, tmp_path: Path) -> None:
    outcome = pack(data, tmp_path / "out", replace(CONFIG, clips_per_shard=2), jobs=1)
    names = [path.name for path in shards(tmp_path / "out")]
    assert names == [
        *(f"clips-0000{i}-of-00002.parquet" for i in range(2)),
        *(f"te%2Fst-0000{i}-of-00002.parquet" for i in range(2)),
        *(f"train-0000{i}-of-00002.parquet" for i in range(2)),
    ]
    rows = [row for path in shards(tmp_path / "out") for row in parquet.read_table(path).to_pylist()]
    assert len(rows) == len(data) == outcome.manifest["n_clips"] == outcome.n_made
    by_id = {row["id"]: row for row in rows}
    for clip in data:
        row = by_id[clip.id.replace("\udcff", "\\udcff")]
        sound = clip.load(RATE)
        heard, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
        assert rate == RATE and heard.shape == sound.waveform.shape
        np.testing.assert_allclose(heard, sound.waveform, rtol=0, atol=1 / 32768)
        assert (tuple(row["labels"]), row["split"], row["group"]) == (clip.labels, clip.split, clip.group)
        assert row["duration"] == sound.duration
        assert row["sha256"] == hashlib.sha256(row["audio"]["bytes"]).hexdigest()
        assert row["audio"]["path"] is None
    read = read_parquet(str(tmp_path / "out"))
    assert (read.name, read.labels) == (data.name, LABELS)
    for clip in read:
        row = by_id[clip.id]
        assert (clip.labels, clip.split, clip.group) == (tuple(row["labels"]), row["split"], row["group"])
        assert isinstance(clip.audio, PackedAudio) and clip.audio.recording() == row["audio"]["bytes"]
        assert clip.load(RATE).duration == row["duration"]
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest == outcome.manifest
    assert manifest["duration"] == pytest.approx(sum(row["duration"] for row in rows))
    assert manifest["clip_ids_sha256"] == hashlib.sha256("\n".join(sorted(by_id)).encode()).hexdigest()
    assert str(tmp_path) not in (tmp_path / "out" / MANIFEST).read_text()
    for said, path in zip(manifest["shards"], shards(tmp_path / "out"), strict=True):
        assert said["file"] == path.name and said["n_bytes"] == path.stat().st_size
        assert said["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(("codec", "starts"), [("flac", b"fLaC"), ("int16", b"RIFF")])
def test_the_form_of_a_shard(data: Dataset, tmp_path: Path, codec: str, starts: bytes) -> None:
    plan = make_plan(data, PackConfig(sample_rate=RATE, codec=codec))
    begun: list[str] = []
    shard = plan.shards[-1]
    packed = write_shard(shard, tmp_path, plan.config, plan.schema_json(), begun.append)
    assert begun == [clip.id for clip in shard.clips] and packed.n_clips == len(begun) == 4
    file = parquet.ParquetFile(tmp_path / shard.file)
    assert file.num_row_groups == packed.n_clips
    assert {name: str(kind) for name, kind in zip(file.schema_arrow.names, file.schema_arrow.types, strict=True)} == {
        "id": "string",
        "audio": "struct<bytes: binary, path: string>",
        "labels": "list<element: string>",
        "split": "string",
        "group": "string",
        "duration": "double",
        "sha256": "string",
    }
    assert json.loads(file.schema_arrow.metadata[b"earmark"]) == {
        "format": 1,
        "kind": "pack",
        "name": "in",
        "labels": {"names": list(LABELS.names), "ids": list(LABELS.ids)},
        "sample_rate": RATE,
        "codec": codec,
    }
    repeated = json.loads(file.metadata.metadata[b"earmark_rows"])
    assert repeated["id"] == begun and repeated["labels"] == [list(clip.labels) for clip in shard.clips]
    assert repeated.keys() == {"id", "labels", "split", "group", "start", "n_bytes"}
    column = file.metadata.row_group(0).column(1)
    assert (column.path_in_schema, column.compression) == ("audio.bytes", "UNCOMPRESSED")
    assert not column.has_dictionary_page
    content = (tmp_path / shard.file).read_bytes()
    ranges = zip(repeated["start"], repeated["n_bytes"], strict=True)
    assert [content[start : start + n] for start, n in ranges] == [
        row["audio"]["bytes"] for row in file.read().to_pylist()
    ]
    for row, clip in zip(file.read().to_pylist(), shard.clips, strict=True):
        assert row["audio"]["bytes"][:4] == starts
        heard, _ = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
        np.testing.assert_allclose(heard, clip.load(RATE).waveform, rtol=0, atol=1 / 32768)
    write_shard(shard, tmp_path, replace(plan.config, clips_per_row_group=3), plan.schema_json(), begun.append)
    assert [parquet.ParquetFile(tmp_path / shard.file).metadata.row_group(i).num_rows for i in range(2)] == [3, 1]


@pytest.mark.parametrize(("codec", "suffix"), [("flac", ".flac"), ("int16", ".wav")])
def test_samples_are_rounded_and_clipped_as_in_files(tmp_path: Path, codec: str, suffix: str) -> None:
    audio = Audio(np.linspace(-1.3, 1.3, 4001, dtype=np.float32), RATE)
    save_audio(tmp_path / f"a{suffix}", audio)
    assert encode(audio, codec) == (tmp_path / f"a{suffix}").read_bytes()


def test_places_follow_from_the_seed_and_the_ids(data: Dataset) -> None:
    def places(dataset: Dataset, seed: int = 0) -> list[tuple[str, list[str]]]:
        plan = make_plan(dataset, PackConfig(clips_per_shard=4, seed=seed))
        return [(shard.file, [clip.id for clip in shard.clips]) for shard in plan.shards]

    whole = replace(data, clips=tuple(replace(clip, split=None) for clip in data))
    backwards = replace(whole, clips=whole.clips[::-1])
    assert places(whole) == places(backwards)
    assert places(whole) != places(whole, seed=1)
    assert [file for file, _ in places(whole)] == [f"clips-0000{i}-of-00003.parquet" for i in range(3)]
    shuffled = [id_ for _, ids in places(whole) for id_ in ids]
    assert shuffled not in ([clip.id for clip in whole], sorted(clip.id for clip in whole))
    plans = [make_plan(dataset, PackConfig()) for dataset in (whole, backwards, data)]
    assert plans[0].data_sha256 == plans[1].data_sha256 != plans[2].data_sha256


def test_clips_that_share_a_file_share_a_group(data: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "in" / "0.wav"
    parts = [Clip(f"p{i}", (), FileAudio(path, onset=i / 1000, duration=0.001), "train") for i in range(3)]
    others = [Clip("own", (), FileAudio(path), group="g"), Clip("alone", (), FileAudio(tmp_path / "in" / "1.wav"))]
    plan = make_plan(Dataset("d", LABELS, (*parts[::-1], *others)), PackConfig())
    groups = {clip.id: clip.group for clip in plan.clips()}
    assert groups == {"p0": "p0", "p1": "p0", "p2": "p0", "own": "g", "alone": None}
    (tmp_path / "in" / "link.wav").symlink_to(path)
    linked = Clip("link", (), FileAudio(tmp_path / "in" / "link.wav"), "valid")
    plan = make_plan(Dataset("d", LABELS, (*parts, linked)), PackConfig())
    assert {clip.group for clip in plan.clips()} == {"link"}


def rows_of(folder: Path, n_rows: int, per_group: int) -> Dataset:
    """A table with a sound a row."""
    waveforms = np.random.default_rng(0).uniform(-0.5, 0.5, (n_rows, 400)).astype(np.float32)
    sounds = [encode(Audio(waveform, RATE), "int16") for waveform in waveforms]
    table = pa.table({"id": [f"r{n:03d}" for n in range(n_rows)], "audio": sounds, "labels": ["dog"] * n_rows})
    folder.mkdir()
    parquet.write_table(table, folder / "rows.parquet", row_group_size=per_group)
    return read_parquet(str(folder))


def test_rows_that_are_read_as_one_stay_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    one = parquet.ParquetFile.read_row_group

    def counted(self, number, *args, **options):
        read.append(number)
        return one(self, number, *args, **options)

    monkeypatch.setattr("earmark.data.parquet_audio._KEPT_GROUPS", 1)
    data = rows_of(tmp_path / "in", 120, 10)
    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", counted)
    plan = make_plan(data, PackConfig(sample_rate=RATE, clips_per_shard=30))
    for shard in plan.shards:
        ids = [clip.id for clip in shard.clips]
        assert len({id_[:3] for id_ in ids}) >= 4, "of several row groups"
        assert ids != sorted(ids), "shuffled"
        write_shard(shard, tmp_path, plan.config, plan.schema_json(), lambda _: None)
    assert len(read) <= len(plan.shards) * 12 < 120, "once for a shard, not for each clip"
    assert sorted(set(read)) == list(range(12))
    assert [clip.id for shard in plan.shards for clip in shard.clips] == [clip.id for clip in plan.clips()]
    packed = [clip for shard in plan.shards for clip in read_parquet(str(tmp_path / shard.file))]
    assert [clip.id for clip in packed] == [clip.id for clip in plan.clips()]
    by_id = {clip.id: clip for clip in data}
    for clip in packed:
        np.testing.assert_array_equal(clip.load(16000).waveform, by_id[clip.id].load(16000).waveform)


def test_a_pack_does_not_go_on_with_rows_that_lie_elsewhere(tmp_path: Path) -> None:
    plans = [make_plan(rows_of(tmp_path / str(n), 200, n), PackConfig(clips_per_shard=10)) for n in (10, 5)]
    assert plans[0].data_sha256 == plans[1].data_sha256 and plans[0].order_sha256 != plans[1].order_sha256
    assert not plans[0].is_by_ids


def test_large_row_groups_are_mixed(tmp_path: Path) -> None:
    """A table may be sorted by label: a shard of one group would have one label."""
    plan = make_plan(rows_of(tmp_path / "in", 200, 20), PackConfig(clips_per_shard=20))
    assert min(len({int(clip.id[1:]) // 20 for clip in shard.clips}) for shard in plan.shards) >= 5
    assert {shard.file for shard in plan.shards} == {f"clips-{n:05d}-of-00010.parquet" for n in range(10)}
    large = make_plan(rows_of(tmp_path / "large", 300, 100), PackConfig(clips_per_shard=10))
    assert max(len({int(clip.id[1:]) // 100 for clip in shard.clips}) for shard in large.shards) <= 2


def test_a_pack_of_before_its_order_was_kept_goes_on(data: Dataset, tmp_path: Path) -> None:
    pack(data, tmp_path / "out", CONFIG, jobs=1)
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    del manifest["order_sha256"]
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(manifest))
    assert pack(data, tmp_path / "out", CONFIG, jobs=1).n_made == 0


def test_names_of_splits_become_names_of_files(data: Dataset) -> None:
    def files(*splits: str | None) -> list[str]:
        clips = [Clip(str(i), (), FileAudio(Path("x.wav")), split) for i, split in enumerate(splits)]
        return [shard.file for shard in make_plan(Dataset("d", LABELS, tuple(clips)), PackConfig()).shards]

    assert files("..", "_x", "früh", "a b/c") == [
        f"{stem}-00000-of-00001.parquet" for stem in ("%2E.", "%5Fx", "a%20b%2Fc", "früh")
    ]
    with pytest.raises(DataError, match="two splits would be named alike: clips, clips"):
        files(None, "clips")
    with pytest.raises(DataError, match="two splits would be named alike: Train, train"):
        files("train", "Train")
    twice = (Clip("\udcff", (), FileAudio(Path("x.wav"))), Clip("\\udcff", (), FileAudio(Path("y.wav"))))
    with pytest.raises(DataError, match="ids occur more than once"):
        make_plan(Dataset("d", LABELS, twice), PackConfig())


def finish(process: subprocess.Popen[str]) -> str:
    return process.communicate()[1].strip()


def marked(folder: Path) -> list[Path]:
    """The processes that left a mark there and are not gone."""
    pids = [path.name.removeprefix("worker-") for path in folder.glob("worker-*")]
    assert pids
    return [Path("/proc", pid) for pid in pids if Path("/proc", pid).exists()]


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_killed_and_resumed_it_is_the_same_to_the_byte(script, wait_until, tmp_path: Path) -> None:
    assert finish(script(tmp_path / "whole", jobs=1)) == ""
    whole = content(tmp_path / "whole")
    assert len(whole) == 9 and MANIFEST in whole and JOURNAL not in whole
    out = tmp_path / "out"
    kept: dict[str, bytes] = {}
    for n_shards, jobs in ((2, 2), (5, 1)):
        process = script(out, jobs, str(n_shards))
        wait_until(lambda n_shards=n_shards: len(shards(out)) >= n_shards, process)
        process.kill()  # the parent alone: the others see to themselves
        finish(process)
        wait_until(lambda: not marked(tmp_path))
        assert not (out / MANIFEST).exists() and (out / JOURNAL).exists()
        now = content(out)
        assert {name: now[name] for name in kept} == kept, "what was whole is kept"
        kept = {path.name: path.read_bytes() for path in shards(out)}
    with (out / JOURNAL).open("ab") as journal:
        journal.write(b'{"file": "test-00000-of-00003.par')  # killed in the middle of a line
    (out / ".train-00000-of-00005-0123456789ab.parquet").write_bytes(b"half")
    before = {path.name: path.stat().st_ino for path in shards(out)}
    assert finish(script(out, 2)) == ""
    assert content(out) == whole
    same = [name for name, inode in before.items() if (out / name).stat().st_ino == inode]
    assert len(same) >= len(before) - 2, "made anew is at most what each process had in hand"
    assert len(before) >= 5


def test_without_its_journal_it_is_another_folder(script, wait_until, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = script(out, 1, "1")
    wait_until(lambda: shards(out), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    (tmp_path / "go").touch()
    told = finish(process)
    assert process.returncode == 1
    assert told.startswith("KeyboardInterrupt: stopped, ") and told.endswith(
        f" of 8 shards are in {out}: the same command goes on"
    )
    assert "\n" not in told
    assert not hidden(out)
    (out / JOURNAL).unlink()
    assert "a new folder or one with pack.json was expected, this holds other files" in finish(script(out))


def test_ctrl_c_while_processes_start_is_one_line_too(script, wait_until, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = script(out, 2, "0")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        finish(process)
        pytest.skip("looks for processes in /proc")
    wait_until(lambda: len(children.read_text().split()) >= 2, process)  # one of them only cleans up
    os.killpg(process.pid, signal.SIGINT)
    (tmp_path / "go").touch()
    assert finish(process) == f"KeyboardInterrupt: stopped, 0 of 8 shards are in {out}: the same command goes on"


def test_a_process_that_dies_costs_its_shard(script, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = finish(script(out, 2, "deadly"))
    assert told.startswith("DataError: train-0000")
    assert ": the process that made it was killed by signal 9 at clip c20; " in told
    assert told.endswith("The same command goes on") and "\n" not in told
    assert len(shards(out)) == 7 and not (out / MANIFEST).exists()
    assert finish(script(out, 2)) == ""
    assert len(shards(out)) == 8 and check(str(out)).damaged == ()
    assert not hidden(out)


def test_a_disk_without_room_is_told_in_a_line(script, tmp_path: Path) -> None:
    out = tmp_path / "out"
    told = finish(script(out, 1, "full"))
    assert "File too large: " in told.replace("[Errno 27] ", "") and "-of-0000" in told and "\n" not in told
    assert shards(out) == [] and not hidden(out)


def test_a_damaged_shard_is_found_and_made_anew(data: Dataset, tmp_path: Path) -> None:
    out, config = tmp_path / "out", replace(CONFIG, clips_per_shard=2)
    told: list[tuple[int, int]] = []
    pack(data, out, config, jobs=2, progress=lambda *words: told.append(words))
    assert told[-1] == (10, 10) and told == sorted(told)
    whole = content(out)
    assert check(str(out)).damaged == ()
    first, second, third, *_ = shards(out)
    flipped = bytearray(whole[first.name])
    flipped[len(flipped) // 2] ^= 1
    first.write_bytes(flipped)
    second.write_bytes(whole[second.name][:-9])
    third.unlink()
    (out / "train-00000-of-00001.parquet").write_bytes(whole[third.name])
    result = check(f"file://{out}")
    assert result.n_shards == 6 and result.damaged == (
        (first.name, "other bytes"),
        (second.name, f"{len(whole[second.name]) - 9} bytes where {len(whole[second.name])} were expected"),
        (third.name, "missing"),
        ("train-00000-of-00001.parquet", "not of this pack"),
    )
    (out / "train-00000-of-00001.parquet").unlink()
    outcome = pack(data, out, config, jobs=1)
    assert content(out) == whole
    assert outcome.n_made == sum(len(parquet.read_table(path)) for path in (first, second, third))
    again = pack(data, out, config, jobs=1)
    assert again.n_made == 0 and again.clips_per_second is None and content(out) == whole


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch):
    """Packs until one shard is made, and is then interrupted."""

    def until_one_is_made(*words):
        for answer in side_by_side(*words):
            yield answer
            if answer.seconds is not None:
                raise KeyboardInterrupt

    def packed(*words) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(run, "side_by_side", until_one_is_made)
            with pytest.raises(KeyboardInterrupt, match=r"stopped, . of 6 shards are in .*: the same command goes on"):
                pack(*words, jobs=1)

    side_by_side = run.side_by_side
    return packed


def test_a_journal_that_was_cut_off_loses_nothing_else(data: Dataset, tmp_path: Path, interrupted) -> None:
    out, config = tmp_path / "out", replace(CONFIG, clips_per_shard=2)
    for _ in range(2):
        interrupted(data, out, config)
        with (out / JOURNAL).open("ab") as journal:
            journal.write(b'{"file": "te')  # killed while it wrote
    first, second, *_ = shards(out)
    n_there = len(parquet.read_table(first)) + len(parquet.read_table(second))
    assert pack(data, out, config, jobs=1).n_made == len(data) - n_there


def test_to_mend_a_whole_pack_can_be_interrupted_too(data: Dataset, tmp_path: Path, interrupted) -> None:
    out, config = tmp_path / "out", replace(CONFIG, clips_per_shard=2)
    pack(data, out, config, jobs=1)
    whole = content(out)
    gone = {path: len(parquet.read_table(path)) for path in shards(out)[-2:]}
    for path in gone:
        path.unlink()
    interrupted(data, out, config)
    assert not (out / MANIFEST).exists(), "it would tell of files that are no more"
    assert pack(data, out, config, jobs=1).n_made <= max(gone.values()), "the others are known to be whole"
    assert content(out) == whole


def test_another_pack_that_was_interrupted_is_refused_too(data: Dataset, tmp_path: Path, interrupted) -> None:
    out, config = tmp_path / "out", replace(CONFIG, clips_per_shard=2)
    interrupted(data, out, config)
    there = content(out)
    with pytest.raises(ConfigError, match="holds another pack, these differ: clips_per_shard 2 -> 8;"):
        pack(data, out, CONFIG, jobs=1)
    with pytest.raises(ConfigError, match=r"these differ: name in -> else, clips [0-9a-f]{12} -> [0-9a-f]{12};"):
        pack(replace(data.select(splits=data.splits[0]), name="else"), out, config, jobs=1)
    assert content(out) == there
    pack(data, out, config, jobs=1)
    assert check(str(out)).damaged == ()


def test_another_pack_is_refused(data: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pack(data, out, CONFIG, jobs=1)
    whole = content(out)
    relabelled = replace(data, clips=(replace(data[0], labels=("dog",)), *data.clips[1:]))
    for dataset, config, text in (
        (data, replace(CONFIG, codec="int16", seed=2), "codec flac -> int16, seed 0 -> 2;"),
        (relabelled, CONFIG, "clips [0-9a-f]{12} -> [0-9a-f]{12};"),
        (replace(data, name="else"), CONFIG, "name in -> else;"),
    ):
        with pytest.raises(ConfigError, match=f"holds another pack, these differ: {text}"):
            pack(dataset, out, config)
    assert content(out) == whole
    (out / MANIFEST).write_text("{}")
    with pytest.raises(DataError, match=r"pack\.json: damaged, or no description of a pack"):
        pack(data, out, CONFIG)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").touch()
    with pytest.raises(ConfigError, match="this holds other files"):
        pack(data, tmp_path / "other", CONFIG)
    assert list(content(tmp_path / "other")) == ["x"]
    with pytest.raises(ConfigError, match="s3://bucket/x: a local folder was expected; copy it there when it is whole"):
        pack(data, "s3://bucket/x", CONFIG)
    for name in ("other", "nowhere"):
        with pytest.raises(DataError, match=r"not a whole pack, no pack\.json"):
            check(str(tmp_path / name))


def test_two_at_a_time_do_not_share_a_folder(data: Dataset, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="no locks of files here")
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / JOURNAL).open("ab") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another process is packing there"):
            pack(data, tmp_path / "out", CONFIG)
    assert pack(data, tmp_path / "out", CONFIG, jobs=1).n_made == 10


def test_bad_clips_are_an_error_in_the_end_or_listed(data: Dataset, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = (tmp_path / "in" / "9.wav").read_bytes()
    (tmp_path / "in" / "9.wav").write_bytes(whole[:50])
    (tmp_path / "in" / "3.wav").unlink()
    with pytest.raises(DataError) as caught:
        pack(data, out, CONFIG, jobs=1)
    assert str(caught.value).startswith("in: 2 of 10 clips cannot be read: C:\\e (no such file), y (")
    assert str(caught.value).endswith("give the same command again, or leave them out (skip_bad=True)")
    assert not (out / MANIFEST).exists() and len(shards(out)) == 3
    outcome = pack(data, out, CONFIG, jobs=1, skip_bad=True)
    assert outcome.n_made == 0, "what could be read was packed already"
    assert (outcome.manifest["n_clips"], outcome.manifest["n_skipped"]) == (8, 2)
    skipped = [one for shard in outcome.manifest["shards"] for one in shard["skipped"]]
    assert {"id": "C:\\e", "reason": "no such file"} in skipped
    assert str(tmp_path) not in (out / MANIFEST).read_text()
    ids = sorted(id_ for path in shards(out) for id_ in parquet.read_table(path)["id"].to_pylist())
    assert outcome.manifest["clip_ids_sha256"] == hashlib.sha256("\n".join(ids).encode()).hexdigest()
    assert check(str(out)).damaged == ()
    # mended, without skip_bad: the shards that left clips out are made anew
    (tmp_path / "in" / "9.wav").write_bytes(whole)
    save_audio(tmp_path / "in" / "3.wav", Audio(np.zeros(300, np.float32), RATE))
    mended = pack(data, out, CONFIG, jobs=1)
    assert (mended.manifest["n_clips"], mended.manifest["n_skipped"]) == (10, 0)
    pack(data, tmp_path / "undisturbed", CONFIG, jobs=2)
    assert content(out) == content(tmp_path / "undisturbed")


@dataclass(frozen=True)
class Unreadable:
    """A sound that fails in its own way."""

    error: Exception

    def load(self, sample_rate):
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AudioError("/data/my clips/x.parquet, row 3 (a): no bytes"), "x.parquet, row 3 (a): no bytes"),
        (AudioError("s3://bucket/x.parquet: damaged"), "s3://bucket/x.parquet: damaged"),
        (ValueError("1 / 2 km/h\nor so"), "ValueError: 1 / 2 km/h or so"),
        (PermissionError(13, "Permission denied", "/data/x.wav"), "Permission denied"),
    ],
)
def test_reasons_are_the_same_on_every_machine(tmp_path: Path, error: Exception, reason: str) -> None:
    plan = make_plan(Dataset("d", LABELS, (Clip("a", (), Unreadable(error)),)), CONFIG)
    packed = write_shard(plan.shards[0], tmp_path, CONFIG, plan.schema_json(), lambda clip: None)
    assert packed.n_clips == 0 and packed.skipped == (Skipped("a", reason),)


@dataclass(frozen=True)
class Faulty:
    """A reader that comes back with nothing."""

    def load(self, sample_rate):
        return None


def test_a_reader_without_a_sound_costs_its_clip_and_no_other(tmp_path: Path, unchecked: None) -> None:
    save_audio(tmp_path / "b.wav", Audio(np.zeros(300, np.float32), RATE))
    clips = (Clip("a", (), Faulty()), Clip("b", (), FileAudio(tmp_path / "b.wav")))
    plan = make_plan(Dataset("d", LABELS, clips), CONFIG)
    packed = write_shard(plan.shards[0], tmp_path, CONFIG, plan.schema_json(), lambda clip: None)
    assert packed.n_clips == 1 and [one.id for one in packed.skipped] == ["a"]


def test_what_is_too_loud_is_counted_and_warnings_come_through(tmp_path: Path) -> None:
    loud, upside_down = np.array([0, 1.5, -0.1, 0], np.float32), np.array([[0.5, 0.1], [-0.5, -0.1]], np.float32)
    save_audio(tmp_path / "loud.wav", Audio(loud, RATE), subtype="FLOAT")
    save_audio(tmp_path / "cancel.wav", Audio(np.tile(upside_down, 4000), RATE))
    clips = tuple(Clip(name, (), FileAudio(tmp_path / f"{name}.wav")) for name in ("loud", "cancel"))
    with pytest.warns(EarmarkWarning, match=r"cancel\.wav"):
        outcome = pack(Dataset("d", LABELS, clips), tmp_path / "out", CONFIG, jobs=1)
    assert outcome.manifest["n_overloaded"] == 1
    (shard,) = shards(tmp_path / "out")
    rows = {row["id"]: row["audio"]["bytes"] for row in parquet.read_table(shard).to_pylist()}
    heard, _ = soundfile.read(io.BytesIO(rows["loud"]))
    np.testing.assert_allclose(heard, [0, 32767 / 32768, -0.1, 0], rtol=0, atol=1 / 32768)


@pytest.mark.parametrize(
    "words", [{"sample_rate": 0}, {"codec": "mp3"}, {"clips_per_shard": 0}, {"clips_per_row_group": 0}]
)
def test_settings_outside_what_they_can_be(words: dict, unchecked: None) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(words))}: .* was expected, not"):
        PackConfig(**words)
