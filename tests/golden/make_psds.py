"""Writes psds.json: figures of sed_scores_eval on small made-up recordings, for tests/test_localisation.py.

Run in an environment of its own (sed_scores_eval is no dependency of earmark):

    python -m venv golden-env && golden-env/bin/pip install sed_scores_eval "pandas<3"
    golden-env/bin/python tests/golden/make_psds.py
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
from sed_scores_eval import intersection_based, segment_based
from sed_scores_eval.base_modules.scores import create_score_dataframe

# the two of DCASE task 4, and with room for the many false alarms of recordings that last minutes in all
SCENARIOS = {
    "psds1": {"dtc": 0.7, "gtc": 0.7, "cttc": 0.3, "alpha_ct": 0.0, "alpha_st": 1.0, "e_max": 100.0},
    "psds2": {"dtc": 0.1, "gtc": 0.1, "cttc": 0.3, "alpha_ct": 0.5, "alpha_st": 1.0, "e_max": 100.0},
    "wide psds1": {"dtc": 0.7, "gtc": 0.7, "cttc": 0.3, "alpha_ct": 0.0, "alpha_st": 1.0, "e_max": 2000.0},
    "wide psds2": {"dtc": 0.1, "gtc": 0.1, "cttc": 0.3, "alpha_ct": 0.5, "alpha_st": 1.0, "e_max": 2000.0},
    "other": {"dtc": 0.5, "gtc": 0.5, "cttc": 0.4, "alpha_ct": 1.0, "alpha_st": 0.0, "e_max": 500.0},
}

# name: recordings, labels, noise of the scores, decimals of the scores, decimals of the events' times
CASES = {
    "good": (12, 4, 0.1, 3, 3),
    "ties": (20, 3, 0.25, 1, 1),
    "fair": (16, 6, 0.3, 3, 4),
    "poor": (8, 5, 1.0, 2, 2),
    "on-the-grid": (14, 3, 0.15, 2, None),
}


def borders(rng: np.random.Generator) -> np.ndarray:
    """Cells as a timeline has them: even ones, or with longer ones at both ends, as windows longer than hops give."""
    duration = round(float(rng.uniform(6.0, 11.0)), 2)
    inner = np.arange(1, int(duration / 0.4)) * 0.4
    inner = inner[(inner > 0.3) & (inner < duration - 0.1)]
    if rng.random() < 0.5:
        inner = inner[2:-2]
    return np.round(np.concatenate([[0.0], inner, [duration]]), 6)


def events(rng: np.random.Generator, cells: np.ndarray, n_labels: int, decimals: int | None) -> list[list]:
    """Some events, none in every sixth recording; one label may have several, that overlap or touch."""
    drawn = []
    for _ in range(rng.integers(1, 6) if rng.random() < 5 / 6 else 0):
        label = int(rng.integers(n_labels))
        if decimals is None:
            first = int(rng.integers(len(cells) - 2))
            last = int(rng.integers(first + 1, min(first + 7, len(cells))))
            onset, offset = float(cells[first]), float(cells[last])
        else:
            length = float(np.exp(rng.uniform(np.log(0.3), np.log(4.0))))
            onset = round(float(rng.uniform(0, cells[-1] - length)), decimals)
            offset = round(onset + length, decimals)
        drawn.append([label, onset, offset])
        if rng.random() < 0.3:
            # touches the one before: of the same label it is the same event, of another it is not
            other = label if rng.random() < 0.5 else int(rng.integers(n_labels))
            drawn.append([other, offset, round(min(offset + 0.5, float(cells[-1])), 6)])
    return [event for event in drawn if event[2] > event[1]]


def scores(
    rng: np.random.Generator, cells: np.ndarray, truth: list[list], n_labels: int, noise: float, decimals: int
) -> np.ndarray:
    """Higher in events, blurred over time, some of it leaking into the next label, with noise."""
    level = np.zeros((len(cells) - 1, n_labels))
    for label, onset, offset in truth:
        overlap = np.clip(np.minimum(cells[1:], offset) - np.maximum(cells[:-1], onset), 0, None) / np.diff(cells)
        level[:, label] += overlap
        level[:, (label + 1) % n_labels] += 0.4 * overlap
    level = np.clip(level, 0, 1)
    padded = np.pad(level, ((1, 1), (0, 0)), mode="edge")
    level = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    drawn = 1 / (1 + np.exp(-(6 * level - 3 + 6 * noise * rng.standard_normal(level.shape))))
    return np.round(drawn, decimals)


def joined(truth: list[list]) -> list[list]:
    """Joins events of one label that overlap or touch: sed_scores_eval refuses them."""
    result: list[list] = []
    for label, onset, offset in sorted(truth):
        if result and result[-1][0] == label and onset <= result[-1][2]:
            result[-1][2] = max(result[-1][2], offset)
        else:
            result.append([label, onset, offset])
    return result


def figures(recordings: list[dict], n_labels: int) -> dict:
    names = [f"label {number}" for number in range(n_labels)]
    frames = {
        str(number): create_score_dataframe(np.array(r["scores"]), np.array(r["borders"]), names)
        for number, r in enumerate(recordings)
    }
    truth = {
        str(number): [(onset, offset, names[label]) for label, onset, offset in joined(r["events"])]
        for number, r in enumerate(recordings)
    }
    durations = {str(number): r["borders"][-1] for number, r in enumerate(recordings)}
    psds = {}
    for name, scenario in SCENARIOS.items():
        psds[name], *_ = intersection_based.psds(
            scores=frames,
            ground_truth=truth,
            audio_durations=durations,
            dtc_threshold=scenario["dtc"],
            gtc_threshold=scenario["gtc"],
            cttc_threshold=scenario["cttc"] if scenario["alpha_ct"] else None,
            alpha_ct=scenario["alpha_ct"],
            alpha_st=scenario["alpha_st"],
            max_efpr=scenario["e_max"],
        )
    # no score equals a threshold: sed_scores_eval detects above, earmark from the threshold on
    thresholds = [0.3012345 + 0.1 * number for number in range(n_labels)]
    f1, *_ = segment_based.fscore(
        frames, truth, durations, dict(zip(names, thresholds, strict=True)), segment_length=1.0
    )
    best, _, _, best_at, _ = segment_based.best_fscore(frames, truth, durations, segment_length=1.0)
    return {
        "psds": psds,
        "thresholds": thresholds,
        "f1": {"micro": f1["micro_average"], "macro": f1["macro_average"], "labels": [f1[name] for name in names]},
        "best_f1": {"micro": best["micro_average"], "macro": best["macro_average"]},
        "best_thresholds": [best_at[name] for name in names],
    }


def main() -> None:
    golden = {"sed_scores_eval": version("sed_scores_eval"), "scenarios": SCENARIOS, "cases": {}}
    for seed, (name, (n_recordings, n_labels, noise, decimals, time_decimals)) in enumerate(CASES.items()):
        rng = np.random.default_rng(seed)
        recordings = []
        for _ in range(n_recordings):
            cells = borders(rng)
            truth = events(rng, cells, n_labels, time_decimals)
            drawn = scores(rng, cells, truth, n_labels, noise, decimals)
            recordings.append({"borders": cells.tolist(), "events": truth, "scores": drawn.tolist()})
        golden["cases"][name] = {"recordings": recordings, "figures": figures(recordings, n_labels)}
    text = json.dumps(golden, separators=(",", ":"))
    (Path(__file__).parent / "psds.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
