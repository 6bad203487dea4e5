"""Pictures: what they show, and what they say when they cannot."""

import builtins
import subprocess
import sys

import numpy as np
import pytest

from earmark import plots
from earmark.errors import ConfigError, EarmarkError
from earmark.plots import Span, Spectrogram, plot_scene, require_matplotlib
from earmark.tagger import Timeline

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


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved."""
    figures = []
    save = plots._save
    monkeypatch.setattr(plots, "_save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def test_three_panels_share_an_axis_in_seconds(scene, drawn, tmp_path):
    plot_scene(tmp_path / "scene.png", labels=["dog", "bell"], title="a scene", **scene)
    assert (tmp_path / "scene.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
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


def test_frequencies_stand_where_their_bins_are(scene, drawn, tmp_path):
    plot_scene(tmp_path / "scene.png", labels=["dog"], **scene)
    panel = drawn[0].axes[0]
    ticks = dict(zip([t.get_text() for t in panel.get_yticklabels()], panel.get_yticks(), strict=True))
    assert list(ticks) == ["0.25", "0.5", "1", "2", "4"]
    frequencies = scene["spectrogram"].frequencies
    assert np.interp(ticks["1"], np.arange(64), frequencies) == pytest.approx(1000, rel=0.01)


def test_true_onsets_are_marked_in_every_panel_and_named_once(scene, drawn, tmp_path):
    plot_scene(tmp_path / "scene.png", labels=["dog"], **scene)
    panels = drawn[0].axes[:3]
    for panel in panels:
        dashed = [line.get_xdata()[0] for line in panel.lines if line.is_dashed() and np.ptp(line.get_xdata()) == 0]
        assert dashed == [1.0, 4.8]  # the bell has no lane
    names = [text for text in panels[0].texts if text.get_text() == "dog"]
    assert len(names) == 2
    assert [text.get_ha() for text in names] == ["left", "right"]  # at the end there is no room to the right


def test_names_of_sounds_that_begin_together_do_not_lie_over_one_another(scene, drawn, tmp_path):
    plot_scene(tmp_path / "scene.png", labels=["dog", "bell"], **scene)
    figure = drawn[0]
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    inside = figure.axes[0].get_window_extent()
    assert all(box.x1 <= inside.x1 and box.y1 <= inside.y1 for box in boxes)


def test_nothing_is_clipped_at_the_edge_of_the_picture(scene, drawn, tmp_path):
    long = "Male speech, man speaking"
    timeline = Timeline(np.zeros(1), np.ones((1, 1)), (long,), window=5.0, hop=5.0, duration=5.0)
    plot_scene(tmp_path / "scene.png", labels=[long], title="t" * 60, **scene | {"timelines": {"a": timeline}})
    figure = drawn[0]
    tight = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert 0 <= tight.x0 <= tight.x1 <= width
    assert 0 <= tight.y0 <= tight.y1 <= height


def test_attention_and_truth_may_be_left_out(scene, drawn, tmp_path):
    plot_scene(tmp_path / "scene.svg", labels=list(LABELS), **scene | {"attention": None, "truth": ()})
    assert len(drawn[0].axes) == 3  # spectrogram, scores, colour bar
    assert "truth" not in [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert "<svg" in (tmp_path / "scene.svg").read_text()


def test_the_same_scene_gives_the_same_file(scene, tmp_path):
    for name in ("a.png", "b.png"):
        plot_scene(tmp_path / name, labels=["dog"], **scene)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_what_cannot_be_drawn_is_refused(scene, tmp_path):
    with pytest.raises(ConfigError, match="at least one label and one timeline"):
        plot_scene(tmp_path / "a.png", labels=[], **scene)
    with pytest.raises(ConfigError, match="the timeline of GMAP has no label 'cat'"):
        plot_scene(tmp_path / "a.png", labels=["cat"], **scene)
    with pytest.raises(EarmarkError, match=r"a picture ends in .png, .svg or .pdf, not in '.mp3'"):
        plot_scene(tmp_path / "a.mp3", labels=["dog"], **scene)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EarmarkError, match=r'which is not installed: pip install "earmark\[plot\]"'):
        require_matplotlib()


def test_matplotlib_comes_with_the_first_picture_and_never_as_pyplot():
    program = (
        "import sys, numpy as np; from pathlib import Path; import earmark.plots as p; "
        "assert 'matplotlib' not in sys.modules; p.require_matplotlib(); "
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
