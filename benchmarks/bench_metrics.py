"""Average precision and AUC of every label, earmark beside scikit-learn, at the size of AudioSet's evaluation.

python benchmarks/bench_metrics.py [--clips 20000] [--labels 527]
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from earmark.evaluation.metrics import average_precision, bootstrap_interval, roc_auc


def clips_like_audioset(n_clips: int, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """About 2.7 labels a clip, most of them rare, and float32 probabilities of AUC 0.97."""
    rng = np.random.default_rng(0)
    share = np.exp(rng.uniform(np.log(0.002), np.log(0.015), n_labels))
    target = rng.random((n_clips, n_labels)) < share
    logits = rng.standard_normal((n_clips, n_labels), dtype=np.float32) + np.float32(2.65) * target - 4
    return target, 1 / (1 + np.exp(-logits))


def best_of(times: int, function: Callable[[], object]) -> tuple[float, object]:
    """Seconds of the fastest run, and its result."""
    fastest, result = float("inf"), None
    for _ in range(times):
        start = time.perf_counter()
        result = function()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest, result


def main() -> None:
    """Prints one line for each metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20_000)
    parser.add_argument("--labels", type=int, default=527)
    size = parser.parse_args()
    target, scores = clips_like_audioset(size.clips, size.labels)
    print(f"{size.clips} clips x {size.labels} labels, {target.sum() / size.clips:.1f} labels a clip, seconds:")
    pairs = [
        ("average precision", average_precision, average_precision_score),
        ("AUC", roc_auc, roc_auc_score),
    ]
    for name, ours, theirs in pairs:
        seconds, values = best_of(5, lambda ours=ours: ours(target, scores))
        seconds_theirs, reference = best_of(2, lambda theirs=theirs: theirs(target, scores, average=None))
        apart = float(np.abs(np.asarray(values) - np.asarray(reference)).max())
        print(
            f"{name:18} earmark {seconds:6.3f}  scikit-learn {seconds_theirs:6.3f}  "
            f"{seconds_theirs / seconds:5.1f} times as fast, at most {apart:.1e} apart"
        )
    seconds, interval = best_of(1, lambda: bootstrap_interval(target, scores))
    print(f"{'mAP interval':18} earmark {seconds:6.3f}  (1000 resamples)  {interval}")


if __name__ == "__main__":
    main()
