"""Pictures and their errors."""

import builtins
import subprocess
import sys

import numpy as np
import pytest

from earmark.errors import ConfigError, EarmarkError
from earmark.inference.evidence import Evidence
from earmark.inference.timeline import Timeline
from earmark.plots import (
    Span,
    Spectrogram,
    panels,
    plot_evidence,
    plot_scene,
    plot_timeline,
    require_matplotlib,
)

LABELS = ("bell", "dog", "rain")


@pytest.fixture
def scene():
    rng = np.random.default_rng(0)
    spectrogram = Spectrogram(rng.normal(-60, 8, (200, 64)), np.geomspace(60, 7800, 64), 0.025)
    onsets = np.arange(12) * 0.4
    timelines = {
        name: Timeline(onsets, rng.random((12, 3)), LABELS, window=0.8, hop=0.4, duration=5.0)
        for name in ("GMAP", "mean pooling")
    }
    attention = rng.dirichlet(np.ones(13), size=4)
    truth = [Span("dog", 1.0, 2.0), Span("bell", 1.05, 1.5), Span("dog", 4.8, 5.0)]
    return {"spectrogram": spectrogram, "timelines": timelines, "attention": attention, "truth": truth}


def test_three_panels_share_an_axis_in_seconds(scene, saved_figures, tmp_path):
    plot_scene(tmp_path / "scene.png", labels=["dog", "bell"], title="a scene", **scene)
    assert (tmp_path / "scene.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = saved_figures
    spectrogram, attention, scores, colour_bar = figure.axes
    assert {panel.get_xlim() for panel in (spectrogram, attention, scores)} == {(0.0, 5.0)}
    assert scores.get_xlabel() == "time (s)"
    assert spectrogram.get_ylabel() == "frequency (kHz)"
    assert colour_bar.get_ylabel() == "level (dB)"
    assert [tick.get_text() for tick in attention.get_yticklabels()] == ["head 1", "head 2", "head 3", "head 4"]
    assert [tick.get_text() for tick in scores.get_yticklabels()] == ["dog", "bell"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "score of GMAP",
        "score of mean pooling",
        "truth",
        "true onset",
        "threshold 0.5",
    ]


def test_frequency_ticks_lie_at_their_bins(scene, saved_figures, tmp_path):
    plot_scene(tmp_path / "scene.png", labels=["dog"], **scene)
    panel = saved_figures[0].axes[0]
    ticks = dict(zip([t.get_text() for t in panel.get_yticklabels()], panel.get_yticks(), strict=True))
    assert list(ticks) == ["0.25", "0.5", "1", "2", "4"]
    frequencies = scene["spectrogram"].frequencies
    assert np.interp(ticks["1"], np.arange(64), frequencies) == pytest.approx(1000, rel=0.01)


def test_true_onsets_are_marked_in_every_panel_and_named_once(scene, saved_figures, tmp_path):
    plot_scene(tmp_path / "scene.png", labels=["dog"], **scene)
    panels = saved_figures[0].axes[:3]
    for panel in panels:
        dashed = [line.get_xdata()[0] for line in panel.lines if line.is_dashed() and np.ptp(line.get_xdata()) == 0]
        assert dashed == [1.0, 4.8]  # the bell has no lane
    names = [text for text in panels[0].texts if text.get_text() == "dog"]
    assert len(names) == 2
    assert [text.get_ha() for text in names] == ["left", "right"]  # at the end there is no room to the right


def test_names_of_simultaneous_sounds_do_not_overlap(scene, saved_figures, tmp_path):
    plot_scene(tmp_path / "scene.png", labels=["dog", "bell"], **scene)
    figure = saved_figures[0]
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    inside = figure.axes[0].get_window_extent()
    assert all(box.x1 <= inside.x1 and box.y1 <= inside.y1 for box in boxes)


def test_nothing_is_clipped_at_the_edge_of_the_picture(scene, saved_figures, tmp_path):
    long = "Male speech, man speaking"
    timeline = Timeline(np.zeros(1), np.ones((1, 1)), (long,), window=5.0, hop=5.0, duration=5.0)
    plot_scene(tmp_path / "scene.png", labels=[long], title="t" * 60, **scene | {"timelines": {"a": timeline}})
    figure = saved_figures[0]
    tight = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert 0 <= tight.x0 <= tight.x1 <= width
    assert 0 <= tight.y0 <= tight.y1 <= height


def test_attention_and_truth_are_optional(scene, saved_figures, tmp_path):
    plot_scene(tmp_path / "scene.svg", labels=list(LABELS), **scene | {"attention": None, "truth": ()})
    assert len(saved_figures[0].axes) == 3  # spectrogram, scores, colour bar
    assert "truth" not in [text.get_text() for text in saved_figures[0].legends[0].get_texts()]
    assert "<svg" in (tmp_path / "scene.svg").read_text()


def test_the_same_scene_gives_the_same_file(scene, tmp_path):
    for name in ("a.png", "b.png"):
        plot_scene(tmp_path / name, labels=["dog"], **scene)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_invalid_pictures_are_refused(scene, tmp_path):
    with pytest.raises(ConfigError, match="at least one label and one timeline"):
        plot_scene(tmp_path / "a.png", labels=[], **scene)
    with pytest.raises(ConfigError, match="the timeline of GMAP has no label 'cat'"):
        plot_scene(tmp_path / "a.png", labels=["cat"], **scene)
    with pytest.raises(EarmarkError, match=r"a picture ends in .png, .svg or .pdf, not in '.mp3'"):
        plot_scene(tmp_path / "a.mp3", labels=["dog"], **scene)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EarmarkError, match=r'which is not installed: pip install "earmark\[plot\]"'):
        require_matplotlib()


def test_matplotlib_is_imported_late_and_never_as_pyplot():
    program = (
        "import sys, numpy as np; from pathlib import Path; import earmark.plots as p; "
        "names = 'matplotlib', 'matplotlib.pyplot', 'torch'; loaded = lambda: [name in sys.modules for name in names]; "
        "before = loaded(); p.require_matplotlib(); print(before, loaded())"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "[False, False, False] [True, False, False]\n"


def test_text_is_readable_on_all_colours_in_greyscale():
    """Names and attention are dark on light tints, also in greyscale."""

    def grey(colour, opacity=1.0):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return float(np.dot([0.299, 0.587, 0.114], [opacity * c + 1 - opacity for c in channels]))

    for colour in panels.COLOURS:
        assert grey(colour, 0.3) > 0.75 > 0.25 > grey(panels.INK)


# timelines and evidence


def timeline_of(scores: np.ndarray, labels: tuple[str, ...], hop: float = 0.4, **more) -> Timeline:
    return Timeline(np.arange(len(scores)) * hop, scores, labels, 2.0, hop, len(scores) * hop, **more)


def shown_labels(panel) -> list[str]:
    return [tick.get_text() for tick in panel.get_yticklabels()]


def test_a_timeline_has_a_lane_for_each_detected_label(saved_figures, tmp_path):
    scores = np.tile(np.array([0.1, 0.6, 0.9, 0.3], np.float32), (25, 1))
    timeline = timeline_of(scores, ("a", "b", "c", "d"), thresholds=(0.5, 0.5, 0.5, 0.2))
    sound = Spectrogram(np.zeros((400, 64)), np.linspace(50, 8000, 64), 0.025)
    plot_timeline(tmp_path / "t.png", sound, timeline, timeline.events(), title="t")
    _, lanes, _ = saved_figures[0].axes
    assert shown_labels(lanes) == ["c", "b", "d"]
    assert len(lanes.collections) == 3  # an event each
    dotted = [line.get_ydata()[0] for line in lanes.lines if line.get_linestyle() == ":"]
    assert dotted == pytest.approx([0.45, 0.45 - 1, 0.18 - 2])
    plot_timeline(tmp_path / "t.png", sound, timeline, [], threshold=0.95)
    assert shown_labels(saved_figures[1].axes[1]) == ["c", "b", "d", "a"] and not len(
        saved_figures[1].axes[1].collections
    )


def test_a_long_timeline_keeps_its_short_events(saved_figures, tmp_path):
    scores = np.zeros((90_000, 1), np.float32)
    scores[12_345] = 0.8
    sound = Spectrogram(np.zeros((100, 64)), np.linspace(50, 8000, 64), 360.0)
    timeline = timeline_of(scores, ("a",))
    plot_timeline(tmp_path / "t.png", sound, timeline, timeline.events(), title="t")
    curve = max(saved_figures[0].axes[1].lines, key=lambda line: len(line.get_xdata()))
    assert len(curve.get_xdata()) <= 1600 and curve.get_ydata().max() == pytest.approx(0.9 * 0.8)


@pytest.mark.parametrize("n_heads", [0, 2])
def test_evidence_is_drawn_at_its_time_in_the_recording(saved_figures, tmp_path, n_heads):
    onsets = 30 + 0.4 * np.arange(5)
    weights = np.array([0.5, -0.25, 0.0, 1.0, -0.5], np.float32)
    attention = np.full((n_heads, 5), 0.2, np.float32) if n_heads else None
    evidence = Evidence("dog", onsets, np.append(onsets[1:], 31.9), weights, np.abs(weights) / 9, attention, 0.7)
    sound = Spectrogram(np.zeros((76, 64)), np.linspace(50, 8000, 64), 0.025, onset=30.0)
    plot_evidence(tmp_path / "e.png", sound, evidence, title="why")
    image, bars, *rest = saved_figures[0].axes
    assert len(rest) == 1 + bool(n_heads)  # the colour bar, and the lanes
    assert image.get_xlim() == pytest.approx((30.0, 31.9))
    assert image.images[0].get_extent()[:2] == pytest.approx([30.0, 31.9])
    upwards, downwards = (patch.get_data() for patch in bars.patches)
    assert upwards.values.tolist() == [0.5, 0, 0, 1.0, 0] and downwards.values.tolist() == [0, -0.25, 0, 0, -0.5]
    assert upwards.edges[[0, -1]].tolist() == pytest.approx([30.0, 31.9])


def test_titles_and_labels_may_hold_any_characters(saved_figures, tmp_path):
    onsets = np.arange(3) * 0.4
    timeline = Timeline(onsets, np.full((3, 1), 0.9), ("$\\frac{$ rain",), window=0.8, hop=0.4, duration=1.6)
    spectrogram = Spectrogram(np.zeros((64, 64)), np.geomspace(60, 7800, 64), 0.025)
    for suffix in (".png", ".svg"):
        path = tmp_path / f"t{suffix}"
        plot_timeline(path, spectrogram, timeline, timeline.events(), threshold=None, title="mod\udc85 $x^{$ $.wav")
        assert path.stat().st_size > 1000
    assert saved_figures[0].get_suptitle() == "mod\\udc85 $x^{$ $.wav"
