"""Results of `earmark tag`, written and read again."""

from pathlib import Path

import pytest

from earmark.cli.recordings import text
from earmark.cli.results import FileResult, read, write
from earmark.errors import ConfigError, DataError
from earmark.inference.tagger import Tag

RESULTS = [
    FileResult("a.wav", 1.5, (Tag("dog", 0.5), Tag("rain, heavy", 0.25))),
    FileResult("b.wav", error="b.wav: damaged"),
    FileResult("c, \udcff.wav", 2.0, (Tag("dog", 0.75),)),
]


@pytest.mark.parametrize("name", ["r.json", "r.csv", "r.parquet"])
def test_written_results_are_read_again(tmp_path: Path, name: str) -> None:
    form = name.split(".")[1]
    if form == "parquet":
        pytest.importorskip("pyarrow")
    write(iter(RESULTS), form, tmp_path / name)
    found = read(tmp_path / name)
    assert [result.tags for result in found] == [result.tags for result in RESULTS]
    assert [result.error for result in found] == [result.error for result in RESULTS]
    if form != "csv":
        assert [result.duration for result in found] == [1.5, 0.0, 2.0]
    if form != "parquet":  # its strings are valid text
        assert [result.file for result in found] == [result.file for result in RESULTS]
    assert [text(result.file) for result in found] == [text(result.file) for result in RESULTS]


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"file": "a", "tags": [{"label": "x"}]}', "nonsense", "\x00"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match=r"r\.json: results of `earmark tag` were expected"):
        read(tmp_path / "r.json")
    with pytest.raises(ConfigError, match=r"resume: results in \.json, \.jsonl, \.csv, \.parquet were expected"):
        read(tmp_path / "r.txt")


@pytest.mark.parametrize("row", ["a.wav", "a.wav,dog,x,", "a.wav,dog," + "1" * 200_000 + ","])
def test_a_damaged_table_is_reported(tmp_path: Path, row: str) -> None:
    (tmp_path / "r.csv").write_text(f"file,label,score,error\n{row}\n")
    with pytest.raises(DataError, match=r"r\.csv: results of `earmark tag` were expected"):
        read(tmp_path / "r.csv")


def test_a_file_without_tags_is_in_every_format(tmp_path: Path) -> None:
    write(iter([FileResult("a.wav", 1.0)]), "csv", tmp_path / "r.csv")
    assert [(result.file, result.tags, result.error) for result in read(tmp_path / "r.csv")] == [("a.wav", (), None)]


def test_an_error_with_undecodable_bytes_goes_into_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write(iter([FileResult("\udcff.wav", error="\udcff.wav: no such file")]), "parquet", tmp_path / "r.parquet")
    assert read(tmp_path / "r.parquet") == [FileResult("\\xff.wav", error="\\xff.wav: no such file")]
