"""Limits and kinds of findings."""

import pytest

from earmark.doctor.kinds import KEPT, KINDS, LEFT_OUT, Limits
from earmark.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_seconds": -1.0}, "min_seconds: at least 0 was expected, not -1"),
        ({"silent_dbfs": 1.0}, "silent_dbfs: at most 0 was expected, not 1"),
        ({"clipped_share": 0.0}, "clipped_share: above 0 and at most 1 was expected, not 0"),
        ({"min_clips": -1}, "min_clips: at least 0 was expected, not -1"),
        (
            {"keep": frozenset({"unreadable"})},
            f"keep: some of {', '.join((*LEFT_OUT, *KEPT))} were expected, not unreadable",
        ),
        ({"drop": frozenset({"leaking"})}, f"drop: some of {', '.join(KEPT)} were expected, not leaking"),
        (
            {"drop": frozenset({"clipped"}), "keep": frozenset({"clipped"})},
            "keep: clipped was expected in keep or drop",
        ),
    ],
)
def test_invalid_limits_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Limits(**settings)


def test_every_kind_has_its_texts():
    assert set(LEFT_OUT) | set(KEPT) < set(KINDS)
    assert Limits().what("short") == "clips shorter than 0.2 s"
    assert all("{" not in Limits().what(kind) for kind in KINDS)
