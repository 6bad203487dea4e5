"""Very many recordings: parts, resume, errors as rows, and a real Ray whose workers are killed."""

import io
import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import earmark
from earmark import hub
from earmark.audio.recording import Audio, save_audio
from earmark.errors import AudioError, ConfigError, DataError
from earmark.inference.tagger import Scores, Tagger
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.bulk import cluster, run  # noqa: E402
from earmark.bulk.job import PLAN, Done, Job, Settings, finished  # noqa: E402
from earmark.bulk.parts import Part, read_input  # noqa: E402
from earmark.bulk.work import do_part  # noqa: E402
from earmark.storage.remote import RemotePath, is_url  # noqa: E402

RATE = 16000
LABELS = LabelSet(("dog", "rain"), ("/d", "/r"))


class Loudness(Tagger):
    """Scores the first label by the loudest sample; hears nothing in what is louder than full scale."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    sample_rate = RATE

    def score(self, audio):
        recording = earmark.load_audio(audio, RATE) if isinstance(audio, Path) else audio
        self.heard.append(str(audio) if isinstance(audio, Path) else "bytes")
        peak = float(np.abs(recording.waveform).max())
        if peak > 1:
            raise RuntimeError("the network\nfell over")
        return Scores(recording.duration, np.array([peak, 0.0]), LABELS, None)

    def embed(self, audio):
        return np.full(3, 0.5, np.float32)


def wav(peak: float, seconds: float = 0.5) -> bytes:
    stream = io.BytesIO()
    import soundfile

    samples = np.zeros(int(seconds * RATE), np.float32)
    samples[0] = peak
    soundfile.write(stream, samples, RATE, format="WAV", subtype="FLOAT")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three recordings, the last in a sub-folder, a damaged one and things that are none."""
    path = tmp_path / "in"
    (path / "sub").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "c.wav", "sub/d.wav"), 1):
        (path / name).write_bytes(wav(number / 4))
    (path / "b.wav").write_bytes(wav(0.5)[:200])
    (path / ".hidden.wav").write_bytes(wav(0.5))
    (path / "notes.txt").write_text("no recording")
    return path


def rows(place: Path) -> list[dict]:
    return parquet.read_table(place).to_pylist()


def a_job(source: Path | str, settings: Settings | None = None, rows_per_part: int = 2) -> Job:
    return Job(read_input(str(source), rows_per_part), "m", "0" * 64, settings or Settings(), rows_per_part)


# what there is to do


def test_a_folder_is_cut_into_the_same_parts_every_time(folder: Path) -> None:
    work = read_input(str(folder), rows_per_part=3)
    assert [part.files for part in work.parts] == [("a.wav", "b.wav", "c.wav"), ("sub/d.wav",)]
    assert [part.name for part in work.parts] == ["part-000000.parquet", "part-000001.parquet"]
    assert work.n_rows == 4
    assert read_input(str(folder), rows_per_part=3) == work
    assert read_input(f"file://{folder}", rows_per_part=3).fingerprint == work.fingerprint
    assert read_input(str(folder), rows_per_part=1).fingerprint == work.fingerprint
    (folder / "c.wav").write_bytes(wav(0.5, seconds=0.6))
    assert read_input(str(folder), rows_per_part=3).fingerprint != work.fingerprint


def test_a_listing_names_recordings_beside_it_and_anywhere(folder: Path) -> None:
    (folder / "list.txt").write_bytes(b"\xef\xbb\xbfa.wav\r\n\r\n/else/where.wav\ns3://bucket/x.wav\n\xff.wav\n")
    (part,) = read_input(str(folder / "list.txt")).parts
    assert part.files == ("a.wav", "/else/where.wav", "s3://bucket/x.wav", "\udcff.wav")
    assert part.folder == str(folder)
    assert Part.from_json(part.to_json()) == part


@pytest.mark.parametrize("table", ["path,label\na.wav,dog\nsub/d.wav,rain\n", "label;File\nx;a.wav\ny;sub/d.wav\n;\n"])
def test_a_csv_listing_has_a_column_of_paths(folder: Path, table: str) -> None:
    (folder / "list.csv").write_text(table)
    (part,) = read_input(str(folder / "list.csv")).parts
    assert part.files == ("a.wav", "sub/d.wav")


def test_parts_of_parquet_are_row_groups(tmp_path: Path) -> None:
    for name in ("x", "y"):
        table = pa.table({"audio": [b""] * 10})
        parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=4)
    (tmp_path / "_SUCCESS").touch()
    work = read_input(str(tmp_path), rows_per_part=8)
    assert [(part.table, part.row_groups, part.n_rows, part.first_row) for part in work.parts] == [
        ("x.parquet", (0, 1), 8, 0),
        ("x.parquet", (2,), 2, 8),
        ("y.parquet", (0, 1), 8, 0),
        ("y.parquet", (2,), 2, 8),
    ]
    assert [part.row_groups for part in read_input(str(tmp_path), rows_per_part=1).parts[:3]] == [(0,), (1,), (2,)]
    only = read_input(str(tmp_path / "y*.parquet"))
    assert {(part.table, part.folder) for part in only.parts} == {("y.parquet", str(tmp_path))}
    assert read_input(str(tmp_path / "y.parquet")) == only


def test_what_is_no_input_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    def told(name: str) -> str:
        with pytest.raises(DataError) as caught:
            read_input(name if is_url(name) else str(tmp_path / name))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert told("gone.txt").endswith("gone.txt: no such file or folder")
    assert "`earmark tag` takes recordings" in told("in/a.wav")
    assert "that can be read" in told("nonsense://x/y")
    (tmp_path / "t.csv").write_text("name\nx\n")
    assert "a column path or file was expected, it has name" in told("t.csv")
    (tmp_path / "e.txt").write_text("\n")
    assert "no recording in it" in told("e.txt")
    (tmp_path / "p.parquet").write_bytes(b"PAR1 and no more")
    assert "cannot be read as Parquet" in told("p.parquet")
    for column, values in (("sound", [b""]), ("audio", [1.5])):
        parquet.write_table(pa.table({column: values}), tmp_path / "q.parquet")
        assert "q.parquet: a column audio of bytes was expected" in told("q.parquet")
    parquet.write_table(pa.table({"audio": pa.array([], pa.binary())}), tmp_path / "none.parquet")
    assert "no row in it" in told("none.parquet")
    parquet.write_table(pa.table({"audio": [b""]}), folder / "t.parquet")
    assert "4 recordings and 1 Parquet files were found" in told("in")
    with pytest.raises(ConfigError, match="rows_per_part: 1 or more was expected, not 0"):
        read_input(str(folder), 0)


# what one part becomes


def test_a_recording_that_cannot_be_read_is_a_row_with_an_error(folder: Path, tmp_path: Path) -> None:
    (folder / "c.wav").write_bytes(wav(2.0))
    (part,) = read_input(str(folder)).parts
    part = replace(part, files=(*part.files, "gone.wav"))
    done = do_part(part, Loudness(), Settings(threshold=0.2, n_features=3), RemotePath(str(tmp_path / "out")), "f")
    written = rows(tmp_path / "out" / part.name)
    assert [row["file"] for row in written] == ["a.wav", "b.wav", "c.wav", "sub/d.wav", "gone.wav"]
    assert written[0] == {
        "file": "a.wav",
        "duration": 0.5,
        "tags": [{"label": "dog", "score": 0.25}],
        "error": None,
        "embedding": [0.5, 0.5, 0.5],
    }
    assert "cut off" in written[1]["error"]
    assert written[2]["error"] == "RuntimeError: the network fell over"
    assert written[4]["error"].endswith("gone.wav: no such file")
    assert all(written[i][key] is None for i in (1, 2, 4) for key in ("duration", "tags", "embedding"))
    assert done == Done(part.name, 5, 3, 1.0, written[1]["error"])


def test_the_columns_have_the_same_types_whatever_is_in_them(folder: Path, tmp_path: Path) -> None:
    for name, files in (("whole", ("a.wav",)), ("bad", ("b.wav",))):
        part = Part(f"{name}.parquet", 1, str(folder), files=files)
        do_part(part, Loudness(), Settings(n_features=3), RemotePath(str(tmp_path)), "f")
    whole, bad = (parquet.read_schema(tmp_path / f"{name}.parquet").remove_metadata() for name in ("whole", "bad"))
    assert whole == bad
    assert whole.field("embedding").type == pa.list_(pa.float32(), 3)
    assert whole.names == ["file", "duration", "tags", "error", "embedding"]
    do_part(replace(part, name="n.parquet"), Loudness(), Settings(), RemotePath(str(tmp_path)), "f")
    assert parquet.read_schema(tmp_path / "n.parquet").names == ["file", "duration", "tags", "error"]


@pytest.mark.parametrize("ids", [{"video_id": ["v1", None, "v3"]}, {"id": [7, None, 9]}, {}])
@pytest.mark.parametrize("is_struct", [True, False])
def test_bytes_in_a_table_are_heard(tmp_path: Path, ids: dict[str, list], is_struct: bool) -> None:
    sounds = [wav(0.25), b"no sound", None]
    audio = [{"bytes": data, "path": f"{i}.wav"} for i, data in enumerate(sounds)] if is_struct else sounds
    table = pa.table({"labels": [["x"]] * 3, "audio": audio, **ids})
    (tmp_path / "in").mkdir()
    parquet.write_table(table, tmp_path / "in" / "t.parquet", row_group_size=2)
    work = read_input(str(tmp_path / "in"), rows_per_part=2)
    for part in work.parts:
        do_part(part, Loudness(), Settings(top=1), RemotePath(str(tmp_path / "out")), "f")
    written = [row for part in work.parts for row in rows(tmp_path / "out" / part.name)]
    if ids:
        names = [str(next(iter(ids.values()))[0]), "t.parquet:1", str(next(iter(ids.values()))[2])]
    else:
        names = ["0.wav", "1.wav", "2.wav"] if is_struct else ["t.parquet:0", "t.parquet:1", "t.parquet:2"]
    assert [row["file"] for row in written] == names
    assert written[0]["tags"] == [{"label": "dog", "score": 0.25}]
    assert "cannot be read as audio" in written[1]["error"]
    assert written[2]["error"] == f"{names[2]}: no bytes of audio in this row"


def test_recordings_on_another_file_system_are_copied_while_they_are_heard(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/far/a.wav", wav(0.25))
    memory.pipe_file("/far/b.wav", b"no sound")
    memory.pipe_file("/else/c.wav", wav(0.25))
    memory.pipe_file("/far/list.txt", b"a.wav\nb.wav\nmemory://else/c.wav\ngone.wav\n")
    tagger = Loudness()
    job = a_job("memory://far/list.txt", rows_per_part=9)
    out = RemotePath("memory://results/of/it")
    job.claim(out)
    do_part(job.input.parts[0], tagger, job.settings, out, job.fingerprint)
    assert out.names() == {PLAN, "part-000000.parquet"}
    assert finished(out, job)["part-000000.parquet"].n_failed == 2
    written = parquet.read_table(io.BytesIO(out.child("part-000000.parquet").read())).to_pylist()
    assert written[0]["tags"][0] == written[2]["tags"][0] == {"label": "dog", "score": 0.25}
    assert written[1]["error"].startswith("memory://far/b.wav: cannot be read as audio")
    assert written[3]["error"] == "FileNotFoundError: /far/gone.wav"
    assert [Path(heard).suffix for heard in tagger.heard] == [".wav", ".wav"]
    assert not any(Path(heard).exists() for heard in tagger.heard)


def test_a_part_that_is_not_whole_is_not_there(folder: Path, tmp_path: Path) -> None:
    class Interrupted(Loudness):
        def score(self, audio):
            if len(self.heard) == 1:
                raise KeyboardInterrupt
            return super().score(audio)

    (part,) = read_input(str(folder)).parts
    with pytest.raises(KeyboardInterrupt):
        do_part(part, Interrupted(), Settings(), RemotePath(str(tmp_path / "out")), "f")
    assert not (tmp_path / "out").exists()


# what a folder of results is


def test_a_folder_of_results_belongs_to_one_job(folder: Path, tmp_path: Path) -> None:
    out = RemotePath(str(tmp_path / "out"))
    job = a_job(folder)
    job.claim(out)
    job.claim(out)
    before = (tmp_path / "out" / PLAN).read_bytes()
    replace(job, model="/elsewhere/m").claim(out)
    for other, named in (
        (a_job(folder, Settings(top=3)), "top null -> 3"),
        (a_job(folder, rows_per_part=3), "rows_per_part 2 -> 3"),
        (replace(job, model_fingerprint="1" * 64), "model 000000000000 -> 111111111111"),
        (a_job(folder, Settings(n_features=3)), "embedding null -> 3"),
    ):
        with pytest.raises(ConfigError, match=f"results of another job, these differ: {named}"):
            other.claim(out)
        assert other.fingerprint != job.fingerprint
    assert (tmp_path / "out" / PLAN).read_bytes() == before
    (tmp_path / "out" / PLAN).write_text("{")
    with pytest.raises(DataError, match="damaged, no plan"):
        job.claim(out)
    with pytest.raises(ConfigError, match="this holds other files"):
        job.claim(RemotePath(str(folder)))


def test_a_damaged_part_and_one_of_another_job_are_done_again(folder: Path, tmp_path: Path) -> None:
    out = RemotePath(str(tmp_path / "out"))
    job = a_job(folder, rows_per_part=1)
    done = [do_part(part, Loudness(), job.settings, out, job.fingerprint) for part in job.input.parts[:3]]
    assert list(finished(out, job).values()) == done
    first = tmp_path / "out" / done[0].part
    first.write_bytes(first.read_bytes()[:-9])
    do_part(job.input.parts[1], Loudness(), job.settings, out, "another job")
    assert list(finished(out, job).values()) == done[2:]


# a whole job


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LABELS).save(path)
    return str(path)


def here(done: list[str]) -> Callable[..., None]:
    """`do_parts` without Ray."""

    def do_parts(job, parts, model, out, fleet, tell):
        tagger = hub.load(model)
        for part in parts:
            tell(part.name, do_part(part, tagger, job.settings, out, job.fingerprint))
            done.append(part.name)

    return do_parts


def test_the_same_call_goes_on_where_it_stopped(
    folder: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    done: list[str] = []
    do_parts = here(done)

    def stops(job, parts, *others):
        do_parts(job, parts[:2], *others)
        raise KeyboardInterrupt

    out = str(tmp_path / "out")
    job = run.make_job(str(folder), model=model, rows_per_part=1)
    monkeypatch.setattr(run, "do_parts", stops)
    with pytest.raises(KeyboardInterrupt, match="the same command goes on"):
        run.run(job, out)
    monkeypatch.setattr(run, "do_parts", do_parts)
    told: list[tuple[int, int]] = []
    outcome = run.run(job, out, tell=lambda o: told.append((o.n_before, len(o.done))))
    assert done == [f"part-00000{i}.parquet" for i in range(4)]
    assert told == [(2, 2), (2, 3), (2, 4)]
    assert (outcome.n_parts, outcome.n_files, outcome.n_failed) == (4, 4, 1)
    assert outcome.seconds_of_audio == 1.5
    assert "b.wav: cut off" in str(outcome.first_error)
    again = run.run(job, out)
    assert len(done) == 4
    assert replace(again, seconds=0.0) == replace(outcome, seconds=0.0, n_before=4)


def test_settings_that_cannot_be_are_told_before_anything_is_done(folder: Path, model: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    for settings in ({"top": 1, "threshold": 0.5}, {"threshold": 2.0}, {"threshold": "auto"}):
        with pytest.raises(ConfigError):
            run.make_job(str(folder), model=model, **settings)


def test_results_on_the_disks_of_other_machines_are_missed(
    folder: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setattr(
        run, "do_parts", lambda *a: a[-1]("part-000000.parquet", Done("part-000000.parquet", 4, 0, 1.0))
    )
    with pytest.raises(DataError, match="written, but on another machine"):
        run.run(run.make_job(str(folder), model=model), str(tmp_path / "out"))


def test_without_ray_that_is_told_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError) as caught:
        run.make_job(str(folder))
    assert caught.value.name == "ray"


def test_workers_that_there_is_no_room_for_are_refused() -> None:
    assert cluster._n_actors(cluster.Fleet(), 4.0) == 4
    assert cluster._n_actors(cluster.Fleet(cpus_per_actor=0.1), 0.3) == 3
    assert cluster._n_actors(cluster.Fleet(8, address="auto"), 2.0) == 8
    for fleet in (cluster.Fleet(3), cluster.Fleet(cpus_per_actor=3.0)):
        with pytest.raises(ConfigError, match=r"n_actors: .* start fewer"):
            cluster._n_actors(fleet, 2.0)
    with pytest.raises(ConfigError, match="actors: 1 or more"):
        cluster.Fleet(0)
    with pytest.raises(ConfigError, match="cpus_per_actor: more than 0"):
        cluster.Fleet(cpus_per_actor=0.0)


def test_an_address_where_nobody_answers_is_told_soon() -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(ConfigError, match=f"{address}: no Ray cluster answers there"),
            cluster._ray(cluster.Fleet(address=address)),
        ):
            pass


def test_workers_are_killed_and_the_results_are_those_of_a_plain_tagger(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    rng = np.random.default_rng(0)
    names = ["a", "once", "b", "c", "d", "poison", "e", "damaged", "f", "g"]
    for name in names:
        save_audio(tmp_path / f"{name}.wav", Audio((rng.standard_normal(RATE) / 9).astype(np.float32), RATE))
    (tmp_path / "damaged.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:999])
    (tmp_path / "list.txt").write_text("".join(f"{name}.wav\n" for name in names))
    marks = tmp_path / "marks"
    marks.mkdir()

    # defined here, so that Ray brings it to the workers, which cannot import this file
    class Mortal:
        """Is killed in the middle of a part: by one recording the first time it is heard, by another every time."""

        def __init__(self, *arguments) -> None:
            from earmark.bulk.cluster import Worker

            self.worker = Worker(*arguments)
            (marks / f"worker-{os.getpid()}").touch()
            score = self.worker.tagger.score

            def fatal(source: Path):
                name = Path(source).stem
                if name == "poison" or (name == "once" and not list(marks.glob("once-*"))):
                    (marks / f"{name}-{os.getpid()}").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return score(source)

            self.worker.tagger.score = fatal

        def __call__(self, parts):
            return self.worker(parts)

    out = str(tmp_path / "out")
    complaints: list[str] = []
    job = run.make_job(str(tmp_path / "list.txt"), model=model, threshold=0.0, embed=True, rows_per_part=2)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(num_cpus=2, object_store_memory=80 * 1024**2, include_dashboard=False, log_to_driver=False)
        with monkeypatch.context() as patched:
            patched.setattr(cluster, "Worker", Mortal)
            outcome = run.run(job, out, cluster.Fleet(2), complain=complaints.append)
        assert ray.is_initialized()  # what this process has started it keeps
    finally:
        ray.shutdown()
    assert [name for name, _ in outcome.failed] == ["part-000002.parquet"]
    assert complaints == [
        "part-000002.parquet: 3 workers died over it, one after the other; perhaps they had too little memory"
    ]
    assert (len(outcome.done), outcome.n_files, outcome.n_failed) == (4, 8, 1)
    assert (len(list(marks.glob("once-*"))), len(list(marks.glob("poison-*")))) == (1, cluster.DEATHS)
    workers = [Path("/proc", mark.name.split("-")[1]) for mark in marks.glob("worker-*")]
    assert workers
    wait_until(lambda: not any(worker.exists() for worker in workers))

    # with a Ray of its own, and nothing that kills
    outcome = run.run(job, out)
    assert not ray.is_initialized()
    assert (len(outcome.done), outcome.n_before, outcome.failed, outcome.n_files) == (5, 4, (), 10)
    written = [row for i in range(5) for row in rows(tmp_path / "out" / f"part-00000{i}.parquet")]
    assert [row["file"] for row in written] == [f"{name}.wav" for name in names]
    tagger = earmark.load(model)
    for name, row in zip(names, written, strict=True):
        if name == "damaged":
            with pytest.raises(AudioError) as caught:
                tagger.tag(tmp_path / "damaged.wav")
            assert row["error"] == str(caught.value)
            continue
        tags = tagger.tag(tmp_path / f"{name}.wav", threshold=0.0)
        assert [(tag["label"], pytest.approx(tag["score"], abs=1e-5)) for tag in row["tags"]] == [
            (tag.label, tag.score) for tag in tags
        ]
        np.testing.assert_allclose(row["embedding"], tagger.embed(tmp_path / f"{name}.wav"), atol=1e-5)


def test_a_plan_says_what_it_is(folder: Path, tmp_path: Path) -> None:
    a_job(folder, Settings(threshold="auto")).claim(RemotePath(str(tmp_path / "out")))
    plan = json.loads((tmp_path / "out" / PLAN).read_text())
    assert plan["input"]["n_files"] == 4
    assert plan["input"]["n_parts"] == 2
    assert plan["model"] == {"name": "m", "fingerprint": "0" * 64}
    assert plan["settings"] == {"top": None, "threshold": "auto", "embedding": None, "rows_per_part": 2}
