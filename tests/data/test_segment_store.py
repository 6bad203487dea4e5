import json

import numpy as np
import pytest

from earmark.data import open_data
from earmark.data.clips import Clip
from earmark.data.segment_store import JOURNAL, is_whole, open_table, read_manifest, write_shard
from earmark.errors import DataError
from earmark.labels import LabelSet
from tests.data.conftest import Burst
from tests.data.test_clips import made_store


def test_a_store_comes_back_and_maps_its_files(tmp_path):
    dataset = open_data(f"segments:{made_store(tmp_path)}")
    assert [(c.id, c.labels, c.split, c.group) for c in dataset][1] == ("1", ("rain",), "x", "1")
    table = open_table(tmp_path)
    assert [type(block) for block in table.blocks] == [np.memmap] * 2 and table.lengths.tolist() == [1, 2, 3, 4]
    whole = table.gather(np.arange(4), np.zeros(4, np.int64), table.lengths)
    assert whole.sum(axis=(1, 2)).tolist() == [0, 4, 12, 24]


def test_a_shard_without_a_readable_clip_is_no_obstacle(tmp_path):
    made_store(tmp_path)
    empty = write_shard(tmp_path, 2, [], [], LabelSet(("dog", "rain")), [("a", "damaged")])
    assert is_whole(tmp_path, empty)
    about = json.loads((tmp_path / "segments.json").read_text())
    about["shards"].append({**empty.__dict__})
    (tmp_path / "segments.json").write_text(json.dumps(about))
    assert len(open_data(f"segments:{tmp_path}")) == 4


def test_the_checksums_of_a_shard_cover_both_files(tmp_path):
    clips = [Clip("a", ("dog",), Burst())]
    shard = write_shard(tmp_path, 0, clips, [[np.ones((2, 3), np.float16)]], LabelSet(("dog",)))
    assert is_whole(tmp_path, shard) and shard.n_segments == 2
    for name in ("segments-00000.npy", "segments-00000.json"):
        before = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(before[:-1])
        assert not is_whole(tmp_path, shard)
        (tmp_path / name).write_bytes(before)
    assert is_whole(tmp_path, shard)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.txt", "", "no store of encoded clips"),
        (JOURNAL, "", "unfinished; run the same `earmark encode` command again to finish it"),
        ("segments.json", "{}", "damaged"),
        ("segments.json", '{"kind": "segments", "format": 9}', "a store of format 1 was expected"),
    ],
)
def test_other_folders_are_refused(tmp_path, name, text, reason):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=reason):
        read_manifest(tmp_path)


@pytest.mark.parametrize("name", ["labels", "settings", "name", "encoder", "shards"])
def test_a_description_that_lacks_a_part_is_damaged(tmp_path, name):
    made_store(tmp_path)
    path = tmp_path / "segments.json"
    about = json.loads(path.read_text())
    del about[name]
    path.write_text(json.dumps(about))
    with pytest.raises(DataError, match="damaged, or no description of a store"):
        read_manifest(tmp_path)


def test_a_store_keeps_which_labels_are_known(tmp_path):
    made_store(tmp_path)
    before = read_manifest(tmp_path)
    clips = [Clip("a", ("dog",), Burst(), known=("dog",)), Clip("b", (), Burst())]
    shard = write_shard(tmp_path, 2, clips, [[np.ones((2, 2), np.float16)]] * 2, LabelSet(("dog", "rain")))
    before["shards"] = [*(one.__dict__ for one in before["shards"]), shard.__dict__]
    (tmp_path / "segments.json").write_text(json.dumps(before))
    assert [clip.known for clip in open_data(f"segments:{tmp_path}")] == [None] * 4 + [("dog",), None]
