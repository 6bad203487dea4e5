"""What cannot be read of a source: an error, or told beside the others."""

from pathlib import Path

import pytest

from earmark.data.damage import Damage, RowError


def test_a_row_says_where_it_is_and_by_itself_no_folder():
    error = RowError(Path("/home/me/clips.csv"), 7, "no path")
    assert str(error) == "/home/me/clips.csv, row 7: no path"
    assert (error.name, error.reason) == ("clips.csv, row 7", "no path")


def test_damage_is_an_error_or_kept():
    errors = [RowError(Path("a.csv"), number, "no path") for number in (2, 5)]
    with pytest.raises(RowError, match=r"a\.csv, row 2: no path"):
        Damage(lenient=False).add(errors[0])
    damage = Damage(lenient=True)
    assert damage.summary() == ""
    for error in errors:
        damage.add(error)
    assert damage.found == [("a.csv, row 2", "no path"), ("a.csv, row 5", "no path")]
    assert damage.summary() == "; 2 rows or files cannot be read, first a.csv, row 2: no path"
