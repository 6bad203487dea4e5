"""Inputs and their parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from earmark.errors import ConfigError, DataError

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.bulk.parts import Part, read_input  # noqa: E402
from earmark.storage.remote import is_url  # noqa: E402


def test_a_folder_is_cut_into_the_same_parts_every_time(folder: Path, wav: Callable[..., Any]) -> None:
    work = read_input(str(folder), rows_per_part=3)
    assert [part.files for part in work.parts] == [("a.wav", "b.wav", "c.wav"), ("sub/d.wav",)]
    assert [part.name for part in work.parts] == ["part-000000.parquet", "part-000001.parquet"]
    assert work.n_rows == 4
    assert read_input(str(folder), rows_per_part=3) == work
    assert read_input(f"file://{folder}", rows_per_part=3).fingerprint == work.fingerprint
    assert read_input(str(folder), rows_per_part=1).fingerprint == work.fingerprint
    (folder / "c.wav").write_bytes(wav(0.5, seconds=0.6))
    assert read_input(str(folder), rows_per_part=3).fingerprint != work.fingerprint


def test_a_listing_names_recordings_beside_it_and_anywhere(folder: Path) -> None:
    (folder / "list.txt").write_bytes(b"\xef\xbb\xbfa.wav\r\n\r\n/else/where.wav\ns3://bucket/x.wav\n\xff.wav\n")
    (part,) = read_input(str(folder / "list.txt")).parts
    assert part.files == ("a.wav", "/else/where.wav", "s3://bucket/x.wav", "\udcff.wav")
    assert part.folder == str(folder)
    assert Part.from_json(part.to_json()) == part


def test_a_listing_of_powershell_is_read(folder: Path) -> None:
    (folder / "list.txt").write_bytes("a.wav\r\nGänse.wav\r\n".encode("utf-16"))
    assert read_input(str(folder / "list.txt")).parts[0].files == ("a.wav", "Gänse.wav")
    (folder / "list.txt").write_bytes(b"\xff\xfea\0b")
    with pytest.raises(DataError, match="UTF-8 or UTF-16 was expected"):
        read_input(str(folder / "list.txt"))


def test_only_line_ends_separate_the_names_of_a_listing(folder: Path) -> None:
    names = ("a\u2028b.wav", "c\x85d.wav", "e\x0cf.wav")
    (folder / "list.txt").write_text("\r\n".join(names), encoding="utf-8")
    assert read_input(str(folder / "list.txt")).parts[0].files == names


def test_a_broken_link_does_not_keep_the_other_recordings_from_being_listed(folder: Path) -> None:
    (folder / "gone.wav").symlink_to(folder / "nowhere.wav")
    (part,) = read_input(str(folder)).parts
    assert part.files == ("a.wav", "b.wav", "c.wav", "gone.wav", "sub/d.wav")


def test_a_folder_that_cannot_be_read_becomes_a_row_with_an_error(
    folder: Path, refuse_folder: Callable[[Path], None]
) -> None:
    refuse_folder(folder / "sub")
    (part,) = read_input(str(folder)).parts
    assert part.files == ("a.wav", "b.wav", "c.wav", "sub")


@pytest.mark.parametrize("table", ["path,label\na.wav,dog\nsub/d.wav,rain\n", "label;File\nx;a.wav\ny;sub/d.wav\n;\n"])
def test_a_csv_listing_has_a_column_of_paths(folder: Path, table: str) -> None:
    (folder / "list.csv").write_text(table)
    (part,) = read_input(str(folder / "list.csv")).parts
    assert part.files == ("a.wav", "sub/d.wav")


def test_parts_of_parquet_are_row_groups(tmp_path: Path) -> None:
    for name in ("x", "y"):
        table = pa.table({"audio": [b""] * 10})
        parquet.write_table(table, tmp_path / f"{name}.parquet", row_group_size=4)
    (tmp_path / "_SUCCESS").touch()
    work = read_input(str(tmp_path), rows_per_part=8)
    assert [(part.table, part.row_groups, part.n_rows, part.first_row) for part in work.parts] == [
        ("x.parquet", (0, 1), 8, 0),
        ("x.parquet", (2,), 2, 8),
        ("y.parquet", (0, 1), 8, 0),
        ("y.parquet", (2,), 2, 8),
    ]
    assert [part.row_groups for part in read_input(str(tmp_path), rows_per_part=1).parts[:3]] == [(0,), (1,), (2,)]
    only = read_input(str(tmp_path / "y*.parquet"))
    assert {(part.table, part.folder) for part in only.parts} == {("y.parquet", str(tmp_path))}
    assert read_input(str(tmp_path / "y.parquet")) == only


def test_other_inputs_are_errors_of_one_line(folder: Path, tmp_path: Path) -> None:
    def error_of(name: str) -> str:
        with pytest.raises(DataError) as caught:
            read_input(name if is_url(name) else str(tmp_path / name))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert error_of("gone.txt").endswith("gone.txt: no such file or folder")
    assert "`earmark tag` takes recordings" in error_of("in/a.wav")
    assert "that can be read" in error_of("nonsense://x/y")
    (tmp_path / "t.csv").write_text("name\nx\n")
    assert "a column path or file was expected, it has name" in error_of("t.csv")
    (tmp_path / "t.csv").write_text('path\n"a.wav\n' + "b.wav\n" * 30000)
    assert "t.csv, line " in error_of("t.csv") and "not valid CSV" in error_of("t.csv")
    (tmp_path / "e.txt").write_text("\n")
    assert "no recording in it" in error_of("e.txt")
    (tmp_path / "p.parquet").write_bytes(b"PAR1 and no more")
    assert "cannot be read as Parquet" in error_of("p.parquet")
    for column, values in (("sound", [b""]), ("audio", [1.5])):
        parquet.write_table(pa.table({column: values}), tmp_path / "q.parquet")
        assert "q.parquet: expected the bytes of recordings in column audio" in error_of("q.parquet")
    parquet.write_table(pa.table({"audio": pa.array([], pa.binary())}), tmp_path / "none.parquet")
    assert "no row in it" in error_of("none.parquet")
    parquet.write_table(pa.table({"audio": [b""]}), folder / "t.parquet")
    assert "4 recordings and 1 Parquet files were found" in error_of("in")
    with pytest.raises(ConfigError, match="rows_per_part: 1 or more was expected, not 0"):
        read_input(str(folder), 0)
