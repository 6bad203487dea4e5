from earmark.storage.recent_values import RecentValues


def test_the_least_recently_used_value_is_dropped():
    kept = RecentValues(n_values=2)
    for key in (1, 2):
        kept.add(key, str(key))
    assert kept.get(1) == "1"
    kept.add(3, "3")
    assert [kept.get(key) for key in (1, 2, 3)] == ["1", None, "3"]


def test_the_size_of_all_values_is_limited_but_one_value_stays():
    kept = RecentValues(n_bytes=10)
    for key, n_bytes in ((1, 4), (2, 6), (3, 5)):
        kept.add(key, str(key), n_bytes)
    assert [kept.get(key) for key in (1, 2, 3)] == [None, None, "3"]
    kept.add(4, "4", 100)
    assert [kept.get(key) for key in (3, 4)] == [None, "4"]
    kept.add(5, "5", 10)
    assert [kept.get(key) for key in (4, 5)] == [None, "5"]


def test_the_first_of_two_values_is_kept():
    kept = RecentValues(n_bytes=10)
    assert kept.add(1, "first", 5) == "first"
    assert kept.add(1, "second", 5) == "first"
    kept.add(2, "other", 5)
    assert kept.get(1) == "first"
