"""Writes results/evidence.md, .json and evidence-barks.png: ways to say which segments carry a tag, compared."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from cyclopts import CycloptsError

from earmark import hub
from earmark.audio.recording import Audio, load_audio
from earmark.data import open_data
from earmark.inference.engine import Engine
from earmark.inference.evidence import N_ORDERS, masked_logits, shapley_effects
from earmark.inference.tagger import Tagger
from earmark.inference.windows import sigmoid
from experiments.scenes import LABELS, Scenes, encode, mix, path_of
from experiments.steps import RESULTS, commit

KEPT: Final = RESULTS / "evidence.json"
PICTURE: Final = RESULTS / "evidence-barks.png"
ORDERS: Final = (2, 8, 32)
BARK: Final = 0.4
TIMES: Final = (0.4, 1.2, 2.0, 2.8, 3.6)
"""Onsets of a repeated sound, in seconds; each lasts `BARK`."""
SHARES: Final = np.linspace(0, 1, 11)
"""Shares of the segments that are deleted or inserted."""
Method = Callable[[Engine, np.ndarray, int, np.random.Generator], np.ndarray]


def without_each(engine: Engine, segments: np.ndarray, label: int, generator: np.random.Generator) -> np.ndarray:
    """How far the logit falls without each segment."""
    n = len(segments)
    masks = np.concatenate([np.ones((1, n), bool), ~np.eye(n, dtype=bool)])
    logits = masked_logits(engine, segments, masks, label)
    fall: np.ndarray = logits[0] - logits[1:]
    return fall


def alone(engine: Engine, segments: np.ndarray, label: int, generator: np.random.Generator) -> np.ndarray:
    """The logit of each segment alone, less their mean."""
    logits: np.ndarray = engine.classify(segments[:, None])[:, label].astype(np.float64)
    return logits - logits.mean()


def attention(engine: Engine, segments: np.ndarray, label: int, generator: np.random.Generator) -> np.ndarray:
    """The mean of the attention heads; constant where there is no attention."""
    heads = engine.attention(segments, label)
    return np.zeros(len(segments)) if heads is None else heads.mean(axis=0).astype(np.float64)


def shapley(n_orders: int) -> Method:
    """Shapley values by this number of orders."""

    def values(engine: Engine, segments: np.ndarray, label: int, generator: np.random.Generator) -> np.ndarray:
        mean: np.ndarray = shapley_effects(engine, segments, label, n_orders, generator).mean(axis=0)
        return mean

    return values


METHODS: Final[Mapping[str, Method]] = {
    "one left out": without_each,
    "the segment alone": alone,
    "attention": attention,
    **{f"Shapley, {n} orders": shapley(n) for n in ORDERS},
}


def evidence_methods(bank: Path | None = None, work: Path | None = None, *models: str) -> None:
    """Compare ways to say which segments carry a tag.

    Args:
        bank: Folder of ESC-50.
        work: Folder for soundscapes and segments.
        models: Checkpoints with ESC-50's labels; the last one draws the picture.
    """
    if bank is not None and work is not None and models:
        folder = mix(bank.resolve(), work.resolve(), "events5", 5, "--n-events", 1, 2, "--n-clips", 150, "--seed", 25)
        results = {Path(model).stem: compare(model, folder, work.resolve(), bank) for model in models}
        barks = five_barks(models[-1], bank)
        kept = {"models": results, "barks": barks, "commit": commit(), "picture": Path(models[-1]).stem}
        KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    elif bank is not None:
        raise CycloptsError("BANK, WORK and MODELS were expected, or none of them to write the page again")
    KEPT.with_suffix(".md").write_text(page(json.loads(KEPT.read_text(encoding="utf-8"))), encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Case:
    """Segments in which a label sounds at known times."""

    segments: np.ndarray
    label: int
    inside: np.ndarray
    """Whether a sound of the label overlaps each segment."""


def single_events(scenes: Scenes) -> list[Case]:
    """The soundscapes with one event."""
    cases = []
    for scene in scenes.scenes:
        if len(scene.events) == 1:
            (event,) = scene.events
            label = scenes.tagger.labels.names.index(LABELS.names[event.label])
            inside = _overlaps(len(scene.segments), scenes.step, [(event.onset, event.offset)])
            cases.append(Case(scene.segments, label, inside))
    return cases


def repeated_sounds(tagger: Tagger, bank: Path) -> list[Case]:
    """The same sound five times in 5 s, for the first clip of each class of fold 5."""
    cases = []
    for name in LABELS.names:
        audio = five_times(first_clip(bank, name), tagger.sample_rate)
        segments = tagger.engine.encode(audio.waveform[None])[0]
        inside = _overlaps(len(segments), tagger.seconds_per_segment, [(t, t + BARK) for t in TIMES])
        cases.append(Case(segments, tagger.labels.names.index(name), inside))
    return cases


def first_clip(bank: Path, label: str) -> Path:
    """The first clip of a label in fold 5, by id."""
    clips = open_data(f"esc50:{bank}").select(splits=("5",), labels=(label,))
    return path_of(min(clips, key=lambda clip: clip.id))


def five_times(path: Path, rate: int) -> Audio:
    """The loudest 0.4 s of a clip, five times in faint noise."""
    waveform, n = load_audio(path, rate).waveform, round(BARK * rate)
    energy = np.cumsum(np.square(waveform, dtype=np.float64))
    start = int(np.argmax(energy[n:] - energy[:-n]))
    scene = 1e-3 * np.random.default_rng(0).standard_normal(5 * rate).astype(np.float32)
    for seconds in TIMES:
        scene[round(seconds * rate) :][:n] += waveform[start : start + n]
    return Audio(scene / max(1.0, float(np.abs(scene).max())), rate)


def _overlaps(n_segments: int, step: float, spans: Sequence[tuple[float, float]]) -> np.ndarray:
    onsets = np.arange(n_segments) * step
    inside: np.ndarray = np.any([np.minimum(onsets + step, b) - np.maximum(onsets, a) > 1e-6 for a, b in spans], axis=0)
    return inside


def compare(model: str, folder: Path, work: Path, bank: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Figures of each method on soundscapes with one event, and on repeated sounds."""
    scenes = encode(model, folder, work)
    engine = scenes.tagger.engine
    sets = {"one event": single_events(scenes), "five times": repeated_sounds(scenes.tagger, bank)}
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, method in METHODS.items():
        results[name] = {part: figures(engine, method, cases) for part, cases in sets.items()}
        print(Path(model).stem, name, results[name], file=sys.stderr)
    return results


def figures(engine: Engine, method: Method, cases: Sequence[Case]) -> dict[str, float]:
    """Means over the cases."""
    rows, start = [], time.perf_counter()
    for number, case in enumerate(cases):
        repeats = [method(engine, case.segments, case.label, np.random.default_rng([number, k])) for k in range(2)]
        weights, inside = repeats[0], case.inside
        top = weights == weights.max()
        hits = inside[np.argsort(-weights, kind="stable")]
        rows.append(
            {
                "pointing": float(inside[top].mean()),
                "ranking": float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean()),
                "positive": float((weights[inside] > 0).mean()),
                "spread": float(np.abs(repeats[1] - weights).mean() / np.sqrt(2) / max(np.ptp(weights), 1e-9)),
                "chance": float(inside.mean()),
            }
        )
    seconds = (time.perf_counter() - start) / 2 / len(cases)
    for row, case in zip(rows, cases, strict=True):
        weights = method(engine, case.segments, case.label, np.random.default_rng(0))
        row["deletion"], row["insertion"] = curves(engine, case.segments, case.label, weights)
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    return {"n": len(cases), **means, "milliseconds": 1000 * seconds}


def curves(engine: Engine, segments: np.ndarray, label: int, weights: np.ndarray) -> tuple[float, float]:
    """Mean score while the segments of most weight are deleted, and while they are inserted, one share at a time."""
    rank = np.argsort(np.argsort(-weights, kind="stable"))
    counts = np.round(SHARES[:-1] * len(segments)).astype(int)
    deleted = masked_logits(engine, segments, rank >= np.minimum(counts, len(segments) - 1)[:, None], label)
    counts = np.maximum(np.round(SHARES[1:] * len(segments)).astype(int), 1)
    inserted = masked_logits(engine, segments, rank < counts[:, None], label)
    return float(sigmoid(deleted).mean()), float(sigmoid(inserted).mean())


def five_barks(model: str, bank: Path) -> dict[str, Any]:
    """Evidence for "dog" in five equal barks of a clip of fold 5, by each method; draws the picture."""
    tagger = hub.load(model)
    audio = five_times(first_clip(bank, "dog"), tagger.sample_rate)
    segments = tagger.engine.encode(audio.waveform[None])[0]
    label = tagger.labels.index("dog")
    weights = {
        name: method(tagger.engine, segments, label, np.random.default_rng(0)).tolist()
        for name, method in METHODS.items()
        if not name.startswith("Shapley") or name == f"Shapley, {N_ORDERS} orders"
    }
    draw(audio, tagger.seconds_per_segment, weights)
    return {"times": TIMES, "weights": weights, "score": float(tagger.score(audio).scores[label])}


def draw(audio: Audio, step: float, weights: Mapping[str, Sequence[float]]) -> None:
    """The picture: the spectrogram above the weights of each method."""
    from earmark.plots import panels
    from earmark.plots.spectrogram import spectrogram_of

    spectrogram = spectrogram_of([audio.waveform], audio.sample_rate)
    figure, axes = panels.stack_panels([1.6, *[1.0] * len(weights)], 0.6)
    panels.draw_spectrogram(figure, axes[0], spectrogram)
    for axis, (name, values) in zip(axes[1:], weights.items(), strict=True):
        onsets = np.arange(len(values)) * step
        colours = [panels.COLOURS[0] if value > 0 else panels.OTHER for value in values]
        axis.bar(onsets, values, step, align="edge", color=colours)
        axis.axhline(0, color=panels.INK, linewidth=0.6)
        axis.set_ylabel(name, fontsize=7)
        for seconds in TIMES:
            axis.axvspan(seconds, seconds + BARK, color=panels.OTHER, alpha=0.25, linewidth=0)
    panels.finish_figure(figure, axes, len(audio.waveform) / audio.sample_rate, 'Five barks: evidence for "dog"')
    panels.save(figure, PICTURE)


_COLUMNS: Final = ("pointing", "ranking", "positive", "deletion", "insertion", "spread", "milliseconds")


def page(kept: dict[str, Any]) -> str:
    """The page: two tables for each network, and the five barks."""
    text = (
        f"# Evidence for a tag\n\nWritten by `python -m experiments evidence-methods ESC-50 WORK MODELS` (commit "
        f"{kept['commit']}).\n\n{INTRODUCTION}\n"
    )
    for model, methods in kept["models"].items():
        for part, title in TITLES.items():
            first = next(iter(methods.values()))[part]
            text += f"\n## {model}: {first['n']:.0f} {title}\n\n"
            text += f"| method | {' | '.join(_COLUMNS)} |\n|---|{'---:|' * len(_COLUMNS)}\n"
            for name, parts in methods.items():
                text += f"| {name} | {' | '.join(f'{parts[part][key]:.3f}' for key in _COLUMNS)} |\n"
            text += f"\nPointing of a random segment: {first['chance']:.3f}.\n"
    barks = kept["barks"]
    text += f"\n## Five barks\n\n![Weights of five barks](evidence-barks.png)\n\n{BARKS} "
    text += f"Score of dog: {barks['score']:.3f}, by {kept['picture']}. Weights of the segments from 0 s on:\n\n"
    for name, values in barks["weights"].items():
        text += f"- {name}: {', '.join(f'{value:+.2f}' for value in values)}\n"
    return text


TITLES: Final = {
    "one event": "soundscapes of fold 5 with one event (10 s, seed 25)",
    "five times": "sounds of fold 5, each five times in 5 s",
}
INTRODUCTION: Final = """Pointing: share of the recordings in which the segment of most weight overlaps the sound.
Ranking: average precision of the weights at finding all segments that the sound overlaps. Positive: share of these
segments whose weight is positive. Deletion: mean score while the segments of most weight are removed, a tenth at a
time; lower is better. Insertion: mean score while they are put in; higher is better. Spread: mean absolute difference
of a weight between two repeats with other random orders, divided by √2, as a fraction of the range of the weights.
Milliseconds: for one label of one recording, on a processor that other work shared, so they compare methods of one
table only roughly.

No method is best throughout. Shapley values point best among the methods that depend on the label, on the mean of the
six tables, and are near the best in the other columns; their weights add up, and their error is known. So they are the
default of `earmark evidence`. The segment alone costs far less and ranks the segments of repeated sounds better.
Attention finds the sound that is there, whatever the label; mean pooling has none. three-folds and three-folds-mean are
the networks of [the event decoder](event-decoder.md); earmark-esc50 was trained on fold 5, so its figures are those of
sounds that it knows."""
BARKS: Final = """A made-up scene: the loudest 0.4 s of a dog of fold 5, five times (grey) in faint noise."""
