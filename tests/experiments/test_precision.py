"""The page of precision."""

import numpy as np

from earmark.evaluation.report import Report, measure
from earmark.labels import LabelSet
from experiments.precision import page


def report(model: str, scores: list[list[float]]) -> Report:
    target = np.array([[True, False], [False, True]])
    return measure(
        target,
        np.array(scores, np.float32),
        ids=["a", "b"],
        labels=LabelSet(("dog", "rain")),
        model=model,
        data="clips",
    )


def test_a_row_has_the_difference_to_the_first_engine() -> None:
    first, other = report("first", [[0.9, 0.2], [0.1, 0.8]]), report("other", [[0.1, 0.2], [0.4, 0.8]])
    text = page({"PyTorch, float32": first, "int8": other}, "three-folds.safetensors", 200)
    assert "three-folds.safetensors on the 2 clips of ESC-50's fold 5; int8 calibrated with 200 clips" in text
    assert "| PyTorch, float32 | 1.0000 | +0.0000 | 1.0000 | 0, 0 |" in text
    assert "| int8 | 0.7500 | -0.2500 | 0.5000 | 0.8, 0.27 |" in text
