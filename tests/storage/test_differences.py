"""Which settings differ."""

from earmark.storage.differences import differences


def test_differences_are_named_with_both_values() -> None:
    before = {"seed": 0, "codec": "flac", "gone": True, "same": [1, 2]}
    now = {"seed": 1, "codec": "int16", "same": [1, 2], "new": "früh"}
    assert differences(before, now) == ["seed 0 -> 1", "codec flac -> int16", "gone true -> null", "new null -> früh"]
    assert differences(now, now) == []


def test_a_digest_is_shortened() -> None:
    assert differences({"clips": "0123456789ab" + 52 * "0"}, {"clips": 64 * "f"}) == [
        "clips 0123456789ab -> ffffffffffff"
    ]
