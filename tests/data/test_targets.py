import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from earmark.data.targets import Targets
from earmark.errors import DataError
from earmark.labels import LabelSet

LABELS = LabelSet(("a", "b", "c", "d"), ("/a", "/b", "/c", "/d"))
SETS = st.lists(st.lists(st.sampled_from(LABELS.names + LABELS.ids), unique=True).map(tuple), min_size=1, max_size=12)


@given(SETS, st.data())
def test_targets_match_the_label_set(clips, data):
    targets = Targets(clips, LABELS)
    dense = np.stack([LABELS.encode(labels) for labels in clips])
    chosen = data.draw(st.lists(st.integers(0, len(clips) - 1), max_size=5))
    np.testing.assert_array_equal(targets.rows(chosen), dense[chosen].reshape(-1, 4))
    assert len(targets) == len(clips)
    assert [one.tolist() for one in targets.by_label()] == [np.flatnonzero(column).tolist() for column in dense.T]
    np.testing.assert_array_equal(targets.unlabelled(), np.flatnonzero(~dense.any(axis=1)))


def test_invalid_targets_are_refused():
    with pytest.raises(DataError, match="unknown label"):
        Targets([("a",), ("nonsense",)], LABELS)
    with pytest.raises(DataError, match="at least one clip"):
        Targets([], LABELS)


def test_unknown_labels_are_nan():
    targets = Targets([("a",), (), ("b", "c")], LABELS, [("a", "d"), ("b",), None])
    expected = [[1, np.nan, np.nan, 0], [np.nan, 0, np.nan, np.nan], [0, 1, 1, 0]]
    np.testing.assert_array_equal(targets.rows([0, 1, 2]), expected)
    np.testing.assert_array_equal(targets.rows([2, 0]), [expected[2], expected[0]])
    assert targets.has_unknown and not Targets([("a",)], LABELS, [None]).has_unknown
