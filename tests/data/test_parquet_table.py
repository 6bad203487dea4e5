"""Parquet columns other than recordings; `test_parquet.py` covers the kinds of files."""

import json

import pytest

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.data.damage import DamageError  # noqa: E402
from earmark.data.parquet_table import OWN, read_parquet_table  # noqa: E402


def test_columns_and_positions_of_rows(tmp_path):
    rows = {"id": ["a", "b", "c"], "audio": [b"1", b"2", b"3"], "labels": ["dog; rain", "", None], "onset": [0.5] * 3}
    parquet.write_table(pa.table(rows), tmp_path / "x.parquet", row_group_size=2)
    table = read_parquet_table(str(tmp_path), "x.parquet")
    assert (table.kind, table.id_column, table.shard.column) == (OWN, "id", "audio")
    assert table.labels.to_pylist() == [["dog", "rain"], [], None]
    assert list(table.times) == ["onset"] and table.splits is None and table.groups is None
    assert (table.rows_per_group, table.ranges) == ([2, 1], None)
    error = table.damaged(1, "odd")
    assert str(error) == f"{tmp_path}/x.parquet, row 1 (b): odd"
    assert (error.name, error.reason) == ("x.parquet, row 1", "odd")


def test_a_file_that_cannot_be_read_is_named_without_its_folder(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but no more")
    parquet.write_table(pa.table({"id": ["a"]}), tmp_path / "y.parquet")
    for name, reason in (
        ("x.parquet", "cannot be read as Parquet, damaged"),
        ("y.parquet", "expected the columns audio, labels"),
    ):
        with pytest.raises(DamageError) as caught:
            read_parquet_table(str(tmp_path), name)
        assert str(caught.value).startswith(f"{tmp_path}/{name}: {reason}")
        assert caught.value.name == name and caught.value.reason.startswith(reason)


NAMES = {"names": ["dog", "rain"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    ("column", "feature", "numbers", "labels"),
    [
        ("label", NAMES, [0, 1, -1, None], [["dog"], ["rain"], [], None]),
        ("labels", {"feature": NAMES, "_type": "List"}, [[0], [1, 0], [], None], [["dog"], ["rain", "dog"], [], None]),
        ("labels", {"feature": NAMES, "_type": "Sequence"}, [[0], [1], [0], [1]], [["dog"], ["rain"]] * 2),
        ("labels", [NAMES], [[0], [1], [0], [1]], [["dog"], ["rain"]] * 2),
        (
            "labels",
            {"feature": {"dtype": "int64"}, "_type": "List"},
            [[0], [1]] * 2,
            [["0"], ["1"]] * 2,
        ),
        ("labels", None, [["a"], ["b"]] * 2, [["a"], ["b"]] * 2),
    ],
)
def test_numbers_of_labels_are_named_by_the_footer_of_hugging_face(tmp_path, column, feature, numbers, labels):
    audio = [{"bytes": b"1", "path": f"{row}.wav"} for row in range(4)]
    about = {} if feature is None else {"huggingface": json.dumps({"info": {"features": {column: feature}}})}
    table = pa.table({"audio": audio, column: numbers}).replace_schema_metadata(about)
    parquet.write_table(table, tmp_path / "x.parquet")
    table = read_parquet_table(str(tmp_path), "x.parquet")
    assert table.labels.to_pylist() == labels
    assert table.ids.to_pylist() == ["0.wav", "1.wav", "2.wav", "3.wav"]


def test_a_number_without_a_name_is_refused(tmp_path):
    about = {"huggingface": json.dumps({"info": {"features": {"labels": NAMES}}})}
    table = pa.table({"id": ["a", "b"], "audio": [b"1", b"2"], "labels": [0, 2]})
    parquet.write_table(table.replace_schema_metadata(about), tmp_path / "x.parquet")
    with pytest.raises(DamageError, match="column labels has 2, but its 2 labels are numbered from 0"):
        read_parquet_table(str(tmp_path), "x.parquet")
