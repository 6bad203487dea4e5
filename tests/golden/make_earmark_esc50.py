"""Writes earmark-esc50.json: the shipped model's scores on three sounds made in code. Run it when the model changes.

python tests/golden/make_earmark_esc50.py
"""

import json
from pathlib import Path

import numpy as np

import earmark


def sounds() -> dict[str, np.ndarray]:
    """Three sounds of 5 s at 16 kHz, the same on every machine."""
    rng = np.random.default_rng(2026)
    time = np.arange(5 * 16000) / 16000
    clicks = np.where(np.arange(len(time)) % 8000 < 40, 0.5, 0.0) * rng.standard_normal(len(time))
    noise = 0.05 * rng.standard_normal(len(time))
    beeps = 0.2 * np.sin(2 * np.pi * 800 * time) * (time % 1 < 0.4)
    return {name: sound.astype(np.float32) for name, sound in zip(SOUNDS, (noise, beeps, clicks), strict=True)}


SOUNDS = ("noise", "beeps", "clicks")


def main() -> None:
    tagger = earmark.load("earmark-esc50")
    scores = {}
    for name, waveform in sounds().items():
        tags = tagger.tag(earmark.Audio(waveform, 16000), top=len(tagger.labels))
        scores[name] = {tag.label: round(tag.score, 6) for tag in sorted(tags, key=lambda tag: tag.label)}
    Path(__file__).with_name("earmark-esc50.json").write_text(json.dumps(scores, indent=1) + "\n")


if __name__ == "__main__":
    main()
