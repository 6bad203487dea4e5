"""ESC-50's classes as labels of AudioSet."""

import numpy as np

from earmark.labels import LabelSet
from experiments.esc50_labels import IN_AUDIOSET, in_esc50


def test_every_class_has_labels_of_audioset() -> None:
    assert list(IN_AUDIOSET) == list(LabelSet.esc50().names)
    assert all(names and set(names) <= set(LabelSet.audioset().names) for names in IN_AUDIOSET.values())


def test_a_class_scores_as_its_best_label() -> None:
    labels = LabelSet.audioset()
    scores = np.zeros((2, len(labels)), np.float32)
    scores[1, labels.names.index("Meow")], scores[1, labels.names.index("Cat")] = 0.9, 0.4
    expected = np.zeros((2, 50))
    expected[1, LabelSet.esc50().index("cat")] = np.float32(0.9)
    np.testing.assert_array_equal(in_esc50(scores, labels), expected)
