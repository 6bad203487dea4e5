"""Recordings with scores and events, and their measures by sed_scores_eval."""

import json
from pathlib import Path

import numpy as np

from earmark.evaluation.localisation import ScoredRecording, TrueEvent

GOLDEN = json.loads((Path(__file__).parent / "golden" / "psds.json").read_text())


def golden_recordings(case: str) -> list[ScoredRecording]:
    return [
        ScoredRecording(
            np.array(recording["borders"]),
            np.array(recording["scores"]),
            tuple(TrueEvent(*event) for event in recording["events"]),
        )
        for recording in GOLDEN["cases"][case]["recordings"]
    ]
