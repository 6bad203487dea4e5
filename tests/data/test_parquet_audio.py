"""Recordings in rows of Parquet files, read at random, in threads and in processes that forked."""

import gc
import multiprocessing
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from earmark.audio.recording import Audio, save_audio
from earmark.data import parquet_audio
from earmark.data.parquet import read_parquet
from earmark.data.parquet_audio import ParquetAudio, Shard
from earmark.errors import AudioError
from earmark.storage.recent_values import RecentValues

RATE = 16000


@pytest.fixture
def table(tmp_path):
    """Twelve recordings of different lengths, four in a row group."""
    sounds = []
    for number in range(12):
        save_audio(tmp_path / "a.wav", Audio(np.full(100 * (number + 1), 0.25, np.float32), RATE))
        sounds.append((tmp_path / "a.wav").read_bytes())
    rows = {"id": [str(number) for number in range(12)], "audio": sounds, "labels": ["x"] * 12}
    parquet.write_table(pa.table(rows), tmp_path / "a.parquet", row_group_size=4)
    return tmp_path / "a.parquet"


@pytest.fixture
def counted(monkeypatch):
    """The row groups that are read, in order."""
    parquet_audio._open_files.cache_clear()
    read = parquet.ParquetFile.read_row_group
    groups = []

    def counting(file, number, **options):
        groups.append(number)
        return read(file, number, **options)

    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", counting)
    return groups


def lengths(data, numbers):
    return [len(data[number].load(RATE).waveform) for number in numbers]


def test_rows_are_read_in_any_order(table):
    data = read_parquet(str(table))
    order = np.random.default_rng(0).permutation(12).tolist()
    assert lengths(data, order) == [100 * (number + 1) for number in order]


def test_a_pass_reads_each_row_group_once(table, counted):
    data = read_parquet(str(table))
    lengths(data, range(12))
    assert counted == [0, 1, 2]
    counted.clear()
    parquet_audio._open_files.cache_clear()
    start = threading.Barrier(4)

    def read(number):
        if number < 4:
            start.wait()
        return lengths(data, [number])[0]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(12))) == [100 * (number + 1) for number in range(12)]
    assert sorted(counted) == [0, 1, 2]


def test_the_cache_is_bounded(table, counted, monkeypatch):
    parquet_audio._open_files.cache_clear()
    monkeypatch.setattr(parquet_audio, "_KEPT_BYTES", 1)
    data = read_parquet(str(table))
    lengths(data, [0, 1, 4, 0, 1])
    assert counted == [0, 1, 0]
    parquet_audio._open_files.cache_clear()
    monkeypatch.setattr(parquet_audio, "_KEPT_BYTES", 1 << 20)
    monkeypatch.setattr(parquet_audio, "_KEPT_GROUPS", 2)
    counted.clear()
    lengths(data, [0, 4, 0, 8, 0, 4])
    assert counted == [0, 1, 2, 1]


def test_files_are_reopened_beyond_the_limit_of_open_files(tmp_path, table, monkeypatch):
    monkeypatch.setattr(parquet_audio, "_OPEN_FILES", 1)
    monkeypatch.setattr(parquet_audio, "_KEPT_GROUPS", 1)
    parquet_audio._open_files.cache_clear()
    (tmp_path / "b.parquet").write_bytes(table.read_bytes())
    both = [read_parquet(str(tmp_path / name)) for name in ("a.parquet", "b.parquet")]
    assert [lengths(data, [number]) for number in (0, 5, 11) for data in both] == [
        [length] for length in (100, 100, 600, 600, 1200, 1200)
    ]


def in_child(data, numbers, queue):
    queue.put(lengths(data, numbers))


def test_forked_processes_share_no_handles(table):
    data = read_parquet(str(table))
    lengths(data, range(12))  # the parent's files are open
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    orders = [np.random.default_rng(seed).permutation(np.tile(np.arange(12), 5)).tolist() for seed in range(3)]
    children = [fork.Process(target=in_child, args=(data, order, queue), daemon=True) for order in orders]
    # as if another thread held the lock: a child process that shares it would never end
    with ExitStack() as held:
        for kept in [each for each in gc.get_objects() if type(each) is RecentValues]:
            held.enter_context(kept._lock)
        for child in children:
            child.start()
        found = sorted(queue.get(timeout=300) for _ in children)
    for child in children:
        child.join()
    assert found == sorted([100 * (number + 1) for number in order] for order in orders)


def test_a_reader_describes_itself_independently_of_its_folder(table, tmp_path):
    reader = read_parquet(str(table))[5].audio
    assert reader == ParquetAudio(Shard(str(tmp_path), "a.parquet", "audio"), 5, "5", 1, 1)
    assert str(tmp_path) not in repr(reader)
    assert pickle.loads(pickle.dumps(reader)) == reader  # noqa: S301
    assert reader.source == f"{table} row 5"
    assert reader.recording()[:4] == b"RIFF"


def test_errors_name_the_row(table, tmp_path):
    data = read_parquet(str(table))
    parquet_audio._open_files.cache_clear()
    table.unlink()
    with pytest.raises(AudioError, match=r"a\.parquet, row 5 \(5\): cannot be read, missing, changed"):
        data[5].load(RATE)
    parquet.write_table(pa.table({"audio": [b"x"]}), table)
    with pytest.raises(AudioError, match=r"a\.parquet, row 5 \(5\): cannot be read, missing, changed"):
        data[5].load(RATE)
