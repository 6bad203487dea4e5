"""The picture of attention over a recording."""

import numpy as np
import pytest
from matplotlib.transforms import Bbox

from earmark.errors import ConfigError, EarmarkError
from earmark.plots import Span, Spectrogram
from experiments.attention import plot_attention


@pytest.fixture
def attended():
    """Arguments for a recording of 5 s: GMAP with two heads on different segments, and uniform vanilla attention."""
    spectrogram = Spectrogram(np.random.default_rng(0).normal(-60, 8, (200, 64)), np.geomspace(60, 7800, 64), 0.025)
    truth = [Span("dog", 1.0, 2.0), Span("bell", 1.05, 1.5), Span("dog", 4.8, 5.0)]
    gmap = np.full((2, 13), 0.01)
    gmap[0, 3], gmap[1, 10] = 0.88, 0.88
    attentions = {"GMAP": gmap, "vanilla attention": np.full((1, 13), 1 / 13)}
    return {"spectrogram": spectrogram, "attentions": attentions, "truth": truth}


def test_each_head_of_each_network_has_a_lane_with_the_same_scale(attended, saved_figures, tmp_path):
    plot_attention(tmp_path / "a.png", title="where they look", **attended)
    truth, spectrogram, lanes, colour_bar = saved_figures[0].axes
    assert {panel.get_xlim() for panel in (truth, spectrogram, lanes)} == {(0.0, 5.0)}
    assert (lanes.get_xlabel(), spectrogram.get_ylabel()) == ("time (s)", "frequency (kHz)")
    assert colour_bar.get_ylabel() == "level (dB)"
    names = [tick.get_text() for tick in lanes.get_yticklabels()]
    assert names == ["GMAP head 1", "GMAP head 2", "vanilla attention"]
    steps = [patch.get_data() for patch in lanes.patches if hasattr(patch, "get_data")]
    heights = [data.values - data.baseline for data in steps]
    assert [weights.argmax() for weights in heights[:2]] == [3, 10]
    assert heights[0].max() / heights[2].max() == pytest.approx(0.88 * 13)
    np.testing.assert_allclose(steps[0].edges, [*np.arange(13) * 0.4, 5.0])  # the last segment ends with the recording
    assert lanes.texts[0].get_text() == "a full lane is a weight of 0.88; dotted: even attention, 0.077"
    dotted = {line.get_ydata()[0] for line in lanes.lines if line.get_linestyle() == ":"}
    assert steps[2].values.max() in dotted, "the dotted line marks even attention"


def test_true_events_are_named_and_marked_in_lanes_and_spectrogram(attended, saved_figures, tmp_path):
    plot_attention(tmp_path / "a.png", **attended)
    truth, spectrogram, lanes, _ = saved_figures[0].axes
    assert sorted(text.get_text() for text in truth.texts) == ["bell", "dog", "dog"]
    spans = {(1.0, 2.0), (1.05, 1.5), (4.8, 5.0)}
    shaded = [patch for patch in lanes.patches if hasattr(patch, "get_width")]
    assert {(patch.get_x(), round(patch.get_x() + patch.get_width(), 9)) for patch in shaded} == spans
    fences = sorted(line.get_xdata()[0] for line in spectrogram.lines)
    assert fences == sorted(moment for span in spans for moment in span)
    of_label = {tuple(patch.get_facecolor()) for patch in shaded}
    assert len(of_label) == 2, "both dogs have one colour, the bell another"


def test_names_and_bars_of_events_do_not_overlap(attended, saved_figures, tmp_path):
    crowd = [Span("crackling_fire", 0.1 * k, 0.1 * k + 0.15) for k in range(4)] + [Span("washing_machine", 4.7, 5.0)]
    crowd += [Span("sea_waves", 0.0, 5.0), Span("clock_tick", 4.9, 5.0)]
    plot_attention(tmp_path / "a.png", **attended | {"truth": crowd}, title="t" * 80)
    figure = saved_figures[0]
    panel = figure.axes[0]
    boxes = [text.get_window_extent() for text in panel.texts]
    assert len(boxes) == 7 and not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    inside = panel.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
    bars = [Bbox(panel.transData.transform(bar.get_paths()[0].vertices[[0, 2]])) for bar in panel.collections]
    for i, bar in enumerate(bars):
        assert not any(bar.overlaps(box) for j, box in enumerate(boxes) if i != j)
        assert not any(bar.overlaps(other) for other in bars[:i])
    tight = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert 0 <= tight.x0 <= tight.x1 <= width and 0 <= tight.y0 <= tight.y1 <= height


def test_a_picture_of_attention_needs_no_events_and_is_reproducible(attended, saved_figures, tmp_path):
    for name in ("a.png", "b.png"):
        plot_attention(tmp_path / name, **attended | {"truth": ()})
    assert len(saved_figures[0].axes) == 3  # spectrogram, lanes, colour bar
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_attention_without_networks_or_with_different_segments_is_refused(attended, tmp_path):
    for attentions in ({}, {"a": np.ones((1, 13)), "b": np.ones((1, 25))}):
        with pytest.raises(ConfigError, match="at least one network, and all of them over the same segments"):
            plot_attention(tmp_path / "a.png", **attended | {"attentions": attentions})
    with pytest.raises(EarmarkError, match=r"a picture ends in .png, .svg or .pdf, not in 'nothing'"):
        plot_attention(tmp_path / "a", **attended)
    assert not list(tmp_path.iterdir())
