"""Lists of freely licensed recordings."""

from pathlib import Path

from experiments.free_audio import read_index, write_clips


def test_a_list_of_recordings_keeps_groups_together(tmp_path: Path) -> None:
    header = "file,source,licence,label,group,seconds,origin\n"
    rows = [f"a/{i}.ogg,{s},CC0,{label},g{i // 3},1,x" for i, (s, label) in enumerate(150 * [("x", "speech en")])]
    rows += ["a/m.ogg,sonicpi_samples,CC0,bass,m,1,x", "a/d.ogg,berklee,CC BY 3.0,dog,d,1,x"]
    (tmp_path / "index.csv").write_text(header + "\n".join(rows) + "\n")
    found = read_index(tmp_path)
    assert [row.kind for row in found[-3:]] == ["speech", "music", "other"]
    assert {row.split for row in found} == {"train", "valid", "test"}
    assert all(len({row.split for row in found if row.group == f"g{i}"}) == 1 for i in range(50))
    write_clips([(found[0].path, "dog", "train", "g")], tmp_path / "clips.csv")
    assert (tmp_path / "clips.csv").read_text().splitlines()[1].endswith("a/0.ogg,dog,train,g")
