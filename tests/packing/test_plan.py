"""The places of clips in a pack."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from earmark.data import Clip, Dataset, FileAudio
from earmark.errors import ConfigError, DataError
from earmark.labels import LabelSet

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.packing import PackConfig  # noqa: E402
from earmark.packing.plan import make_plan  # noqa: E402

RATE = 16000
LABELS = LabelSet(("dog", "Musik, schöne"), ("/d", "/m"))


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


def test_a_pack_does_not_resume_after_rows_have_moved(tmp_path: Path, rows_of: Callable[..., Any]) -> None:
    plans = [make_plan(rows_of(tmp_path / str(n), 200, n), PackConfig(clips_per_shard=10)) for n in (10, 5)]
    assert plans[0].data_sha256 == plans[1].data_sha256 and plans[0].order_sha256 != plans[1].order_sha256


def test_large_row_groups_are_mixed(tmp_path: Path, rows_of: Callable[..., Any]) -> None:
    """A table may be sorted by label: a shard of one group would have one label."""
    plan = make_plan(rows_of(tmp_path / "in", 200, 20), PackConfig(clips_per_shard=20))
    assert min(len({int(clip.id[1:]) // 20 for clip in shard.clips}) for shard in plan.shards) >= 5
    assert {shard.file for shard in plan.shards} == {f"clips-{n:05d}-of-00010.parquet" for n in range(10)}
    large = make_plan(rows_of(tmp_path / "large", 300, 100), PackConfig(clips_per_shard=10))
    assert max(len({int(clip.id[1:]) // 100 for clip in shard.clips}) for shard in large.shards) <= 2


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


@pytest.mark.parametrize(
    "words", [{"sample_rate": 0}, {"codec": "mp3"}, {"clips_per_shard": 0}, {"clips_per_row_group": 0}]
)
def test_invalid_settings_are_refused(words: dict, unchecked: None) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(words))}: .* was expected, not"):
        PackConfig(**words)
