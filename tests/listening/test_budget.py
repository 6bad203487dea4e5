"""The number of clips and alerts in an hour."""

from earmark.listening.budget import Budget


def test_an_hour_has_so_many_and_slides():
    budget = Budget(2)
    assert [budget.take(seconds) for seconds in (0.0, 1800.0, 3599.0, 3600.0, 3601.0, 5400.0)] == [
        True,
        True,
        False,
        True,
        False,
        True,
    ]


def test_without_a_number_there_is_no_limit():
    budget = Budget(None)
    assert all(budget.take(0.0) for _ in range(1000))
