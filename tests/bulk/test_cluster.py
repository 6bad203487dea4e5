"""A real Ray, whose workers are killed."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import earmark
from earmark.audio.recording import Audio, save_audio
from earmark.errors import AudioError, ConfigError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.bulk import cluster, dispatch  # noqa: E402

RATE = 16000


def test_more_workers_than_the_cluster_holds_are_refused() -> None:
    assert cluster._n_actors(cluster.Fleet(), 4.0) == 4
    assert cluster._n_actors(cluster.Fleet(cpus_per_actor=0.1), 0.3) == 3
    assert cluster._n_actors(cluster.Fleet(8, address="auto"), 2.0) == 8
    for fleet in (cluster.Fleet(3), cluster.Fleet(cpus_per_actor=3.0)):
        with pytest.raises(ConfigError, match=r"n_actors: .* start fewer"):
            cluster._n_actors(fleet, 2.0)
    with pytest.raises(ConfigError, match="n_actors: at least 1"):
        cluster.Fleet(0)
    with pytest.raises(ConfigError, match="cpus_per_actor: above 0"):
        cluster.Fleet(cpus_per_actor=0.0)


def test_a_worker_on_a_gpu_has_it_for_itself() -> None:
    fleet = cluster.Fleet(device="auto")
    assert [fleet.device_of(n) for n in (0.0, 0.5, 1.0, 8.0)] == ["cpu", "cpu", "cuda", "cuda"]
    assert cluster.Fleet().device_of(8.0) == "cpu"
    assert cluster._n_actors(cluster.Fleet(cpus_per_actor=4.0), 16.0, "cuda", 2.0) == 2
    assert cluster._n_actors(cluster.Fleet(cpus_per_actor=4.0), 4.0, "cuda", 2.0) == 1
    assert cluster._n_actors(cluster.Fleet(), 8.0, "mps") == 1
    assert cluster.Fleet(8, address="auto", device="cuda").device_of(2.0) == "cuda"
    with pytest.raises(ConfigError, match="device: cuda was requested for 3 workers, Ray finds 2 GPUs"):
        cluster.Fleet(3, device="cuda").device_of(2.0)
    with pytest.raises(
        ConfigError, match="device: cuda was expected, since Ray chooses the GPU of a worker, not cuda:1"
    ):
        cluster.Fleet(device="cuda:1")
    with pytest.raises(ConfigError, match="device: auto, cpu, cuda"):
        cluster.Fleet(device="gpu")


def test_an_address_without_a_server_is_reported() -> None:
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
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wait_until: Callable[..., None],
    rows: Callable[..., Any],
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
        """Is killed within a part: by one recording the first time, by another every time."""

        def __init__(self, *arguments) -> None:
            from earmark.bulk.cluster import Worker

            self.worker = Worker(*arguments)
            (marks / f"worker-{os.getpid()}").touch()
            score = self.worker.tagger.score_and_embed

            def fatal(source: Path, **settings):
                name = Path(source).stem
                if name == "poison" or (name == "once" and not list(marks.glob("once-*"))):
                    (marks / f"{name}-{os.getpid()}").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return score(source, **settings)

            self.worker.tagger.score_and_embed = fatal

        def __call__(self, parts):
            return self.worker(parts)

    out = str(tmp_path / "out")
    complaints: list[str] = []
    model = str(exported)  # its workers start without PyTorch, which takes seconds
    job = dispatch.make_job(str(tmp_path / "list.txt"), model=model, threshold=0.0, embed=True, rows_per_part=2)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "600")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # it kills workers where memory is short
    try:
        ray.init(num_cpus=2, object_store_memory=80 * 1024**2, include_dashboard=False, log_to_driver=False)
        with monkeypatch.context() as patched:
            patched.setattr(cluster, "Worker", Mortal)
            outcome = dispatch.run_job(job, out, cluster.Fleet(2), report_failure=complaints.append)
        assert ray.is_initialized()  # Ray stays up in this process
    finally:
        ray.shutdown()
    assert [name for name, _ in outcome.failed] == ["part-000002.parquet"]
    assert complaints == [
        "part-000002.parquet: 3 workers died at this part, one after the other; perhaps memory was short"
    ]
    assert (len(outcome.done), outcome.n_files, outcome.n_failed) == (4, 8, 1)
    assert (len(list(marks.glob("once-*"))), len(list(marks.glob("poison-*")))) == (1, cluster.DEATHS)
    workers = [Path("/proc", mark.name.split("-")[1]) for mark in marks.glob("worker-*")]
    assert workers
    wait_until(lambda: not any(worker.exists() for worker in workers))

    # with a Ray of its own, and nothing that kills
    outcome = dispatch.run_job(job, out)
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
