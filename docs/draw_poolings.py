"""Draws docs/images/poolings.png and docs/images/score-poolings.png, computed by the poolings.

The first shows seven segments of one channel under the poolings of the paper, the second seven scores of one label
under the poolings at the instance level.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from earmark.model.pooling import POOLINGS, AttentionPooling

SEGMENTS = (0.3, 0.2, 2.4, 0.4, 1.3, 1.2, 0.1)
"""The channel: a short loud sound in the third segment, a longer faint one in the fifth and sixth."""
QUERIES = {"attention": (1.5,), "attentive_stats": (1.5,), "gmap": (2.5, -2.5)}
"""Vector `v` of each head; the second head of GMAP has learned the opposite of the first."""
SCORES = (0.1, 0.05, 0.9, 0.2, 0.5, 0.45, 0.02)
"""The scores of the segments for one label."""
ATTENTION_SCORES = (-2.0, -2.0, 2.0, -1.0, 0.0, 0.0, -2.0)
"""Second output of the classifier, from which decision-level attention makes its weights."""
EXPONENT = 10.0
"""Learned exponent of auto-pool."""
TITLES = {
    "max": "max",
    "mean": "mean",
    "max_mean": "max + mean",
    "attention": "attention",
    "attentive_stats": "attentive statistics",
    "gmap": "GMAP, head {head}",
}


def head_rows(name: str) -> list[tuple[str, np.ndarray, float, float]]:
    """Title, weights, pooled value and deviation of each head of a pooling; the gate is open."""
    values = torch.tensor(SEGMENTS)
    if name not in QUERIES:
        pooled = float(POOLINGS[name](1)(values[None, :, None])[0, 0])
        peak = np.eye(len(SEGMENTS))[int(values.argmax())]
        even = np.full(len(SEGMENTS), 1 / len(SEGMENTS))
        weights = {"max": peak, "mean": even, "max_mean": peak + even}[name]
        return [(TITLES[name], weights, pooled, 0.0)]
    n_heads = len(QUERIES[name])
    settings = {"n_heads": n_heads, "gate": False} if name == "gmap" else {}
    pooling = POOLINGS[name](n_heads, **settings)
    assert isinstance(pooling, AttentionPooling)
    pooling.query.data = torch.tensor(QUERIES[name])[:, None]
    segments = values[None, :, None].expand(1, -1, n_heads)
    with torch.no_grad():
        weights, clip = pooling.attention(segments)[0].numpy(), pooling(segments)[0].unflatten(0, (n_heads, -1)).numpy()
    return [
        (TITLES[name].format(head=head + 1), weights[head], clip[head, 0], clip[head, 1] if pooling.deviation else 0.0)
        for head in range(n_heads)
    ]


def draw(path: Path) -> None:
    """Draws the picture."""
    rows = [row for name in TITLES for row in head_rows(name)]
    figure, panels = plt.subplots(2, 4, figsize=(10, 4.6), sharex=True, layout="constrained")
    panels = panels.ravel()
    for panel, (title, weights, pooled, deviation) in zip(panels[1:], rows, strict=True):
        _draw_panel(panel, title, weights, pooled, deviation)
    times = np.arange(len(SEGMENTS))
    panels[0].bar(times, SEGMENTS, color="#777777")
    panels[0].set_title("the segments", fontsize=10)
    panels[0].set_ylim(0, 4)
    _finish(figure, panels, times, path, dpi=130)


def _finish(figure: Figure, panels: Sequence[Axes], times: np.ndarray, path: Path, dpi: int) -> None:
    """Numbers the segments of each panel and writes the picture."""
    for panel in panels:
        panel.set_xticks(times, [str(time + 1) for time in times])
        panel.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("segment", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi, metadata={"Software": None})
    plt.close(figure)


def slopes(name: str) -> tuple[np.ndarray, float]:
    """Change of the pooled score of a label with the score of each segment, and the pooled score."""
    pooling = POOLINGS[name].for_labels(1, 1)
    if name == "auto_pool":
        torch.nn.init.constant_(pooling.exponent, EXPONENT)
    scores = torch.tensor(SCORES, requires_grad=True)
    channels = [scores.logit(), torch.tensor(ATTENTION_SCORES)][: pooling.n_channels]
    pooled = pooling(torch.stack(channels, 1)[None]).sigmoid().squeeze()
    pooled.backward()
    return scores.grad.numpy(), pooled.item()


def draw_scores(path: Path) -> None:
    """Draws the picture of the poolings at the instance level."""
    names = [name for name, pooling in POOLINGS.items() if pooling.level == "instance"]
    figure, panels = plt.subplots(3, 3, figsize=(10, 6.4), sharex=True, layout="constrained")
    panels = panels.ravel()
    times = np.arange(len(SCORES))
    panels[0].bar(times, SCORES, color="#777777")
    panels[0].set_title("the scores", fontsize=10)
    panels[0].set_ylim(0, 1)
    for panel, name in zip(panels[1:], names, strict=True):
        changes, pooled = slopes(name)
        panel.bar(times, changes, color="#1b9e77", alpha=0.6)
        panel.axhline(0, color="black", linewidth=0.6)
        panel.set_ylim(-0.6, 1.6)
        panel.set_title(name, fontsize=10)
        value = panel.twinx()
        value.axhline(pooled, color="#d95f02", linewidth=1.8)
        value.set_ylim(-0.375, 1)
        value.set_yticks([0, 0.5, 1])
        value.spines[["top"]].set_visible(False)
        value.tick_params(colors="#d95f02", labelsize=8)
    _finish(figure, panels, times, path, dpi=110)


def _draw_panel(panel: Axes, title: str, weights: np.ndarray, pooled: float, deviation: float) -> None:
    panel.bar(np.arange(len(SEGMENTS)), weights, color="#1b9e77", alpha=0.6)
    panel.set_ylim(0, 1.3)
    panel.set_title(title, fontsize=10)
    value = panel.twinx()
    value.axhline(pooled, color="#d95f02", linewidth=1.8)
    value.axhspan(pooled - deviation, pooled + deviation, color="#d95f02", alpha=0.2, linewidth=0)
    value.set_ylim(0, 4)
    value.spines[["top"]].set_visible(False)
    value.tick_params(colors="#d95f02", labelsize=8)


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "images"
    draw(folder / "poolings.png")
    draw_scores(folder / "score-poolings.png")
