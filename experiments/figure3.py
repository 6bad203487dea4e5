"""Figure 3: attention of each GMAP head and of vanilla attention over a recording, beside the true events."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float

from earmark.audio.recording import load_audio
from earmark.errors import ConfigError, DataError
from earmark.inference.torch_engine import TorchEngine
from earmark.inference.windows import seconds_per_segment
from earmark.model.frontend import mel_edges
from earmark.model.network import Network
from earmark.plots import Span, Spectrogram, require_matplotlib
from experiments.attention import plot_attention
from experiments.table1.lines import read_lines
from experiments.table1.plan import Run
from experiments.table1.soundscapes import part_folder, true_events

_CELLS: Final = {"gmap": "GMAP", "attention": "vanilla attention"}
"""The poolings that are compared, and their names in the figure."""
_N_CANDIDATES: Final = 100
"""Number of test clips from which the default one is chosen; more would only take longer."""


def figure3(gmap: Path, attention: Path, audio: Path, events: Sequence[Span], out: Path, *, title: str = "") -> Path:
    """Draws the spectrogram of a recording and the attention weights of each head of both networks.

    Args:
        gmap: Checkpoint of a network with GMAP pooling; its front end computes the spectrogram.
        attention: Checkpoint of a network with vanilla attention.
        audio: The recording.
        events: The true events; may be empty.
        out: The picture; its suffix chooses the format (.png, .svg, .pdf).
        title: Title of the picture.

    Raises:
        ConfigError: A network has another pooling.
        CheckpointError: A checkpoint cannot be read.
        AudioError: The recording cannot be read.
        EarmarkError: matplotlib is not installed, or does not know the format.
    """
    require_matplotlib()
    engines = {cell: _engine(path, cell) for cell, path in zip(_CELLS, (gmap, attention), strict=True)}
    plot_attention(
        out,
        _spectrogram(engines["gmap"].network, audio),
        {_CELLS[cell]: _attention(engine, audio) for cell, engine in engines.items()},
        truth=events,
        seconds_per_segment=seconds_per_segment(engines["gmap"]),
        title=title,
    )
    return out


def draw(out: Path, difficulty: str = "sparse", clip: str | None = None, seed: int = 0) -> Path:
    """Draws `figure3.png` from the runs and the test soundscapes in the folder of a Table 1.

    Args:
        out: The folder; its runs of GMAP and of vanilla attention, of this difficulty and seed, must be finished.
        difficulty: sparse or dense.
        clip: Name of a test soundscape; `choose_clip` chooses when None.
        seed: Seed of the runs.

    Raises:
        DataError: A run is not finished, or there is no such soundscape.
        EarmarkError: As for `figure3`.
    """
    require_matplotlib()
    gmap, attention = (_checkpoint(out, Run(difficulty, cell, seed)) for cell in _CELLS)
    folder = part_folder(out, difficulty, "test")
    truth = _truth(folder)
    name = choose_clip(out, difficulty, seed) if clip is None else _named(clip, truth, folder)
    audio = folder / "audio" / f"{name}.flac"
    why = "the most typical test clip of two events, " if clip is None else ""
    title = f"{name}: {why}{difficulty}, seed {seed}"
    return figure3(gmap, attention, audio, truth[name], out / "figure3.png", title=title)


def choose_clip(out: Path, difficulty: str = "sparse", seed: int = 0) -> str:
    """The name of the most typical test soundscape: neither network's best nor its worst.

    Candidates are the first soundscapes with two events, one after the other. They are ranked by how much of GMAP's
    attention falls on the events (mean over the heads), and again for vanilla attention. Chosen is the one whose ranks
    both lie near the middle: the larger of their two distances from it is the smallest. Of equals, the first by name.

    Raises:
        DataError: A run is not finished, or no test soundscape has two events one after the other.
    """
    engines = [_engine(_checkpoint(out, Run(difficulty, cell, seed)), cell) for cell in _CELLS]
    folder = part_folder(out, difficulty, "test")
    truth = _truth(folder)
    apart = [name for name, (first, *rest) in sorted(truth.items()) if len(rest) == 1 and first.offset <= rest[0].onset]
    names = apart[:_N_CANDIDATES]
    if not names:
        raise DataError(f"{folder}: no soundscape has two events one after the other; name a clip to draw")
    paths = [folder / "audio" / f"{name}.flac" for name in names]
    shares = [
        [_share_on(truth[name], _attention(engine, path), engine) for name, path in zip(names, paths, strict=True)]
        for engine in engines
    ]
    ranks = np.argsort(np.argsort(shares, axis=1, kind="stable"), axis=1)
    return names[int(np.abs(ranks - (len(names) - 1) / 2).max(axis=0).argmin())]


def _share_on(events: Sequence[Span], attention: Float[np.ndarray, "head segment"], engine: TorchEngine) -> float:
    """Share of the attention (mean over the heads) that falls on these events, which must not overlap."""
    seconds = seconds_per_segment(engine)
    starts = np.arange(attention.shape[1]) * seconds
    ends = starts + seconds
    covered = sum(np.clip(np.minimum(ends, e.offset) - np.maximum(starts, e.onset), 0, None) for e in events)
    return float((attention.mean(axis=0) * covered).sum() / seconds)


def _engine(path: Path, pooling: str) -> TorchEngine:
    network = Network.load(path)
    if network.config.pooling != pooling:
        raise ConfigError(f"{path}: a network with the pooling {pooling} was expected, it has {network.config.pooling}")
    return TorchEngine(network)


def _attention(engine: TorchEngine, audio: Path) -> Float[np.ndarray, "head segment"]:
    attention = engine.attention(engine.encode(load_audio(audio, engine.sample_rate).waveform[None])[0])
    if attention is None:
        raise ConfigError(f"a pooling with attention was expected, not {engine.network.config.pooling}")
    return attention


def _spectrogram(network: Network, audio: Path) -> Spectrogram:
    config = network.config.frontend
    waveform = load_audio(audio, config.sample_rate).waveform
    with torch.inference_mode():
        log_mel = network.frontend(torch.from_numpy(waveform)[None])[0].numpy()
    return Spectrogram(log_mel, mel_edges(config)[1:-1], config.seconds_per_frame)


def _checkpoint(out: Path, run: Run) -> Path:
    """The checkpoint with the best validation mAP of a finished run."""
    checkpoint = run.folder(out) / "best.safetensors"
    if not checkpoint.is_file() or run not in {line.run for line in read_lines(out / "runs.jsonl")}:
        raise DataError(
            f"{out}: the finished run {run} was expected, it is missing; "
            f"`python -m experiments table1 --out {out}` trains it"
        )
    return checkpoint


def _truth(folder: Path) -> dict[str, list[Span]]:
    """The events of each soundscape by its name, sorted by onset."""
    return {
        name: sorted((Span(event.label, event.onset, event.offset) for event in events), key=lambda span: span.onset)
        for name, events in true_events(folder).items()
    }


def _named(clip: str, truth: dict[str, list[Span]], folder: Path) -> str:
    name = clip.removesuffix(".flac")
    if name not in truth:
        close = get_close_matches(name, truth, n=1) or sorted(truth)[:1]
        hint = f"; did you mean {close[0]}?" if close else ""
        raise DataError(f"{folder}: there is no soundscape {clip!r} among its {len(truth)}{hint}")
    return name
