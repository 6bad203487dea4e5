"""Parquet columns other than recordings; `test_parquet.py` covers the kinds of files."""

import pytest

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.data.damage import DamageError  # noqa: E402
from earmark.data.parquet_table import OWN, read_table  # noqa: E402


def test_columns_and_positions_of_rows(tmp_path):
    rows = {"id": ["a", "b", "c"], "audio": [b"1", b"2", b"3"], "labels": ["dog; rain", "", None], "onset": [0.5] * 3}
    parquet.write_table(pa.table(rows), tmp_path / "x.parquet", row_group_size=2)
    table = read_table(str(tmp_path), "x.parquet")
    assert (table.kind, table.id_column, table.shard.column) == (OWN, "id", "audio")
    assert table.labels.to_pylist() == [["dog", "rain"], [""], None]
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
            read_table(str(tmp_path), name)
        assert str(caught.value).startswith(f"{tmp_path}/{name}: {reason}")
        assert caught.value.name == name and caught.value.reason.startswith(reason)
