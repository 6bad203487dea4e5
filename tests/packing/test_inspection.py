"""Damaged packs are found and repaired."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from earmark.data import Dataset

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.packing import PackConfig, check, pack  # noqa: E402

CONFIG = PackConfig(sample_rate=16000, clips_per_shard=8)


def test_a_damaged_shard_is_found_and_written_again(
    data: Dataset, tmp_path: Path, content: Callable[..., Any], shards: Callable[..., Any]
) -> None:
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
