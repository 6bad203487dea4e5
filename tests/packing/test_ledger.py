"""Packs that are continued, and folders that hold something else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from earmark.data import Dataset
from earmark.errors import ConfigError, DataError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.data.packs import JOURNAL, MANIFEST  # noqa: E402
from earmark.packing import PackConfig, check, pack  # noqa: E402

CONFIG = PackConfig(sample_rate=16000, clips_per_shard=8)


def test_a_journal_that_was_cut_off_loses_nothing_else(
    data: Dataset, tmp_path: Path, interrupted, shards: Callable[..., Any]
) -> None:
    out, config = tmp_path / "out", replace(CONFIG, clips_per_shard=2)
    for _ in range(2):
        interrupted(data, out, config)
        with (out / JOURNAL).open("ab") as journal:
            journal.write(b'{"file": "te')  # killed while it wrote
    first, second, *_ = shards(out)
    n_there = len(parquet.read_table(first)) + len(parquet.read_table(second))
    assert pack(data, out, config, jobs=1).n_made == len(data) - n_there


def test_repairing_a_finished_pack_can_be_interrupted(
    data: Dataset, tmp_path: Path, interrupted, content: Callable[..., Any], shards: Callable[..., Any]
) -> None:
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


def test_another_pack_that_was_interrupted_is_refused_too(
    data: Dataset, tmp_path: Path, interrupted, content: Callable[..., Any]
) -> None:
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


def test_another_pack_is_refused(data: Dataset, tmp_path: Path, content: Callable[..., Any]) -> None:
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
    with pytest.raises(ConfigError, match="s3://bucket/x: a local folder was expected; pack there, then copy the pack"):
        pack(data, "s3://bucket/x", CONFIG)
    for name in ("other", "nowhere"):
        with pytest.raises(DataError, match=r"not a finished pack, no readable pack\.json"):
            check(str(tmp_path / name))


def test_two_processes_do_not_share_a_folder(data: Dataset, tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="no locks of files here")
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / JOURNAL).open("ab") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another process is at work there"):
            pack(data, tmp_path / "out", CONFIG)
    assert pack(data, tmp_path / "out", CONFIG, jobs=1).n_made == 10
