"""The table of facts."""

from earmark.doctor.facts import Facts, FactsTable


def test_a_table_returns_the_given_facts():
    table = FactsTable(3)
    found = Facts(1.25, 44100, 2, 0.5, 0.25, "ab" * 30 + "0000", "odd", None)
    table.add(1, found)
    table.add(2, Facts(error="gone"))
    assert [table.knows(p) for p in range(3)] == [False, True, True]
    assert (table[1], table[2], table.n_known) == (found, Facts(error="gone"), 2)


def test_new_facts_replace_an_earlier_error():
    table = FactsTable(1)
    table.add(0, Facts(error="cut off", warning="odd"))
    mended = Facts(1.0, 16000, 1, 0.5, 0.0, "ab" * 32)
    table.add(0, mended)
    assert table[0] == mended
    assert table.errors == table.warnings == {}
