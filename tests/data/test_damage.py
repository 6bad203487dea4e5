"""Unreadable rows and files: raised or collected."""

from pathlib import Path

import pytest

from earmark.data.damage import Damage, RowError


def test_a_row_error_gives_the_path_and_a_short_name():
    error = RowError(Path("/home/me/clips.csv"), 7, "no path")
    assert str(error) == "/home/me/clips.csv, row 7: no path"
    assert (error.name, error.reason) == ("clips.csv, row 7", "no path")


def test_damage_is_raised_or_collected():
    errors = [RowError(Path("a.csv"), number, "no path") for number in (2, 5)]
    with pytest.raises(RowError, match=r"a\.csv, row 2: no path"):
        Damage(lenient=False).add(errors[0])
    damage = Damage(lenient=True)
    assert damage.summary() == ""
    for error in errors:
        damage.add(error)
    assert damage.found == [("a.csv, row 2", "no path"), ("a.csv, row 5", "no path")]
    assert damage.summary() == "; 2 rows or files cannot be read, first a.csv, row 2: no path"
