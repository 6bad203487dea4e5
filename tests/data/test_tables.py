"""Tables of text: rows, columns, and the clips that rows list."""

from pathlib import Path

import pytest

from earmark.data.clips import Clip, FileAudio
from earmark.data.damage import Damage, RowError
from earmark.data.tables import parse_seconds, read_clips, read_csv_rows, read_csv_table, read_labels, wav_or_flac
from earmark.errors import DataError, EarmarkWarning


def write(folder: Path, text: str) -> Path:
    (folder / "t.csv").write_text(text)
    return folder / "t.csv"


def test_rows_have_the_numbers_of_a_spreadsheet(tmp_path: Path) -> None:
    path = write(tmp_path, 'a; b\n\n"x\ny";1\n;\nz;2\n')
    assert list(read_csv_rows(path, ",;")) == [(1, ["a", "b"]), (3, ["x\ny", "1"]), (5, ["z", "2"])]


def test_columns_are_found_by_name_and_others_ignored(tmp_path: Path) -> None:
    path = write(tmp_path, "Onset,colour,id,\n1,red,x,,\n")
    assert list(read_csv_table(path, ["id", "onset"])) == [(2, {"onset": "1", "colour": "red", "id": "x"})]
    with pytest.warns(EarmarkWarning, match="'colour' is ignored; if you meant 'color', rename it"):
        assert len(list(read_csv_table(path, ["id"], ["color"]))) == 1
    with pytest.raises(DataError, match=r"t\.csv: needs the columns id, onsets in its first row.*'onset'"):
        list(read_csv_table(path, ["id", "onsets"]))


def test_rows_of_another_width_are_damage(tmp_path: Path) -> None:
    path = write(tmp_path, "a,b\n1\n1,2,3\n1,2\n")
    with pytest.raises(RowError, match=r"t\.csv, row 2: expected 2 columns, got 1$"):
        list(read_csv_table(path, ["a"]))
    damage = Damage(lenient=True)
    assert [number for number, _ in read_csv_table(path, ["a"], damage=damage)] == [4]
    assert damage.found[1] == (
        "t.csv, row 3",
        "expected 2 columns, got 3; put cells that contain the separator into quotes",
    )


def test_an_id_occurs_once_in_tables_that_share_their_places(tmp_path: Path) -> None:
    damage, places = Damage(lenient=True), {}
    for name, ids in (("a.csv", "xy"), ("b.csv", "zx")):
        rows = enumerate(ids, 2)
        clips = read_clips(tmp_path / name, rows, lambda id_: Clip(id_, (), FileAudio(id_)), damage, places, "; why?")
        assert [clip.id for clip in clips] == list(ids.replace("x", "") if name == "b.csv" else ids)
    assert damage.found == [("b.csv, row 3", "x is already in row 2 of a.csv; why?")]


def test_labels_count_up(tmp_path: Path) -> None:
    labels = read_labels(tmp_path / "t.csv", enumerate([("0", "dog", "d"), ("1", "rain", "r")], 1))
    assert (labels.names, labels.ids) == (("dog", "rain"), ("d", "r"))
    with pytest.raises(RowError, match=r"row 7: expected index 0, a label and its id, got 1, dog"):
        read_labels(tmp_path / "t.csv", [(7, ("1", "dog"))])


def test_seconds_are_finite_and_not_negative() -> None:
    assert parse_seconds("1.5") == 1.5
    for text in ("-1", "inf", "nan", "1:30", ""):
        with pytest.raises(DataError, match="expected onset in seconds, 0 or more, got"):
            parse_seconds(text, "onset")


def test_a_flac_stands_in_for_its_wav(tmp_path: Path) -> None:
    wav, flac = tmp_path / "a.wav", tmp_path / "a.flac"
    assert wav_or_flac(wav) == wav
    flac.touch()
    assert wav_or_flac(wav) == flac
    wav.touch()
    assert wav_or_flac(wav) == wav
