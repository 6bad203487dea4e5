"""Figure 3: the picture of a Table 1 folder, and the choice of its clip."""

from collections.abc import Mapping
from dataclasses import fields

import numpy as np
import pytest
import torch

from earmark.data.soundscapes import SoundscapeConfig, mix_soundscapes, render_soundscapes
from earmark.data.synthetic import synthetic_bank
from earmark.errors import CheckpointError, ConfigError, DataError, EarmarkError
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from earmark.plots import Span
from experiments import figure3 as module
from experiments.attention import plot_attention
from experiments.figure3 import choose_clip, draw, figure3
from experiments.table1.lines import Line, append_line
from experiments.table1.plan import Run

N_CLIPS = 20
RUNS = [Run("sparse", cell, seed) for cell in ("gmap", "attention", "mean") for seed in (0, 1)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The folder of a table: soundscapes of 3 s, and untrained networks with uneven attention."""
    out = tmp_path_factory.mktemp("table")
    config = SoundscapeConfig(duration=3.0, sample_rate=16000, event_duration=(0.3, 0.5), n_events=(1, 2), seed=7)
    bank = synthetic_bank(n_per_label=4).select(splits=["test"])
    render_soundscapes(mix_soundscapes(bank, config, N_CLIPS, split="test"), out / "data" / "sparse" / "test")
    for run in RUNS:
        save_network(run.folder(out) / "best.safetensors", run.cell, run.seed, bank.labels)
        append_line(out / "runs.jsonl", line_of(run))
    return out


def save_network(path, pooling, seed, labels):
    torch.manual_seed(seed)
    network = Network(NetworkConfig(FrontendConfig.at_16k(), width=2, pooling=pooling), labels)
    if pooling != "mean":
        torch.nn.init.normal_(network.pooling.query, std=20.0)
    network.save(path)


def line_of(run):
    """A finished run; only its name matters here."""
    plain = {str: "", int: 1, float: 1.0, Mapping: {}}
    values = {f.name: next((plain[kind] for kind in plain if is_kind(f.type, kind)), None) for f in fields(Line)}
    return Line(**values | run._asdict())


def is_kind(annotation, kind):
    return annotation is kind or getattr(annotation, "__origin__", None) is kind


@pytest.fixture
def drawn(monkeypatch):
    """Records the arguments of each picture."""
    calls = []
    monkeypatch.setattr(module, "plot_attention", lambda *a, **k: (calls.append((a, k)), plot_attention(*a, **k)))
    return calls


def test_the_command_draws_the_chosen_clip_with_its_truth_and_both_networks(table, drawn):
    name = sorted(module._truth(table / "data" / "sparse" / "test"))[3]
    assert draw(table, "sparse", f"{name}.flac", seed=1) == table / "figure3.png"
    assert (table / "figure3.png").read_bytes().startswith(b"\x89PNG")
    ((_, spectrogram, attentions), options) = drawn[0]
    assert {network: weights.shape for network, weights in attentions.items()} == {
        "GMAP": (4, 8),
        "vanilla attention": (1, 8),
    }
    for weights in attentions.values():
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    assert spectrogram.duration == 3.0 and spectrogram.log_mel.shape == (120, 64)
    assert options["title"] == f"{name}: sparse, seed 1"
    rows = (table / "data" / "sparse" / "test" / "truth.tsv").read_text().splitlines()
    truth = [row.split("\t") for row in rows if row.startswith(name)]
    assert sorted((e.label, e.onset, e.offset) for e in options["truth"]) == sorted(
        (label, float(onset), float(offset)) for _, onset, offset, label, _ in truth
    )


def test_without_a_name_the_most_typical_clip_is_drawn_and_named(table, drawn):
    draw(table)
    ((_, options),) = drawn
    assert options["title"] == f"{choose_clip(table)}: the most typical test clip of two events, sparse, seed 0"


def test_the_default_clip_is_near_the_middle_for_both_networks(table, monkeypatch):
    names = [
        name for name, events in sorted(module._truth(table / "data" / "sparse" / "test").items()) if apart(events)
    ]
    assert 4 < len(names) < N_CLIPS, "some clips have one event, or two at once"
    # how much of its attention each network pays to the events: the fourth is in the middle for both, the first for one
    shares = {
        "gmap": [0.5, 0.9, 0.1, 0.55, 0.6, *np.linspace(0.95, 0.99, len(names) - 5)],
        "attention": [0.99, 0.2, 0.3, 0.5, 0.1, *np.linspace(0.6, 0.9, len(names) - 5)],
    }
    middle = (len(names) - 1) / 2
    away = [max(abs(sorted(s).index(s[i]) - middle) for s in shares.values()) for i in range(len(names))]
    asked = []

    def share(events, attention, engine):
        asked.append(engine.network.config.pooling)
        return float(shares[asked[-1]][(len(asked) - 1) % len(names)])

    monkeypatch.setattr(module, "_share_on", share)
    assert choose_clip(table) == names[away.index(min(away))]
    assert asked == ["gmap"] * len(names) + ["attention"] * len(names)


def apart(events):
    return len(events) == 2 and events[0].offset <= events[1].onset


def test_the_choice_is_reproducible_and_has_two_separate_events(table):
    name = choose_clip(table)
    assert choose_clip(table) == name
    assert apart(module._truth(table / "data" / "sparse" / "test")[name])


def test_the_share_of_attention_on_events_is_counted_by_the_second(table):
    engine = module._engine(Run("sparse", "attention", 0).folder(table) / "best.safetensors", "attention")
    even = np.full((1, 5), 0.2)
    events = [Span("a", 0.2, 0.6), Span("b", 1.6, 2.0)]
    assert module._share_on(events, even, engine) == pytest.approx(0.4)  # 0.8 s of 2 s
    pointed = np.array([[1.0, 0, 0, 0, 0], [0, 0, 0, 0, 1.0]])
    assert module._share_on(events, pointed, engine) == pytest.approx(
        0.75
    )  # half of the first segment, all of the last


def test_any_two_networks_and_recording_can_be_drawn(table, tmp_path):
    gmap, attention = (Run("sparse", cell, 0).folder(table) / "best.safetensors" for cell in ("gmap", "attention"))
    audio = next((table / "data" / "sparse" / "test" / "audio").iterdir())
    assert figure3(gmap, attention, audio, [], tmp_path / "a.svg", title="no truth known") == tmp_path / "a.svg"
    assert "<svg" in (tmp_path / "a.svg").read_text()
    mean = Run("sparse", "mean", 0).folder(table) / "best.safetensors"
    with pytest.raises(ConfigError, match="a network with the pooling attention was expected, it has mean"):
        figure3(gmap, mean, audio, [], tmp_path / "b.png")
    with pytest.raises(CheckpointError, match="no such file"):
        figure3(tmp_path / "none.safetensors", attention, audio, [], tmp_path / "b.png")
    with pytest.raises(EarmarkError, match=r"a picture ends in .png"):
        figure3(gmap, attention, audio, [], tmp_path / "b.mp3")
    assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]


def test_missing_runs_and_clips_are_reported_in_one_line(table, tmp_path):
    with pytest.raises(
        DataError,
        match="the finished run dense gmap seed 0 was expected, it is missing; `python -m experiments",
    ):
        draw(table, "dense")
    with pytest.raises(DataError, match="the finished run sparse gmap seed 2 was expected"):
        draw(table, seed=2)
    with pytest.raises(DataError, match="the finished run sparse gmap seed 0 was expected"):
        draw(tmp_path)
    name = choose_clip(table)
    with pytest.raises(DataError, match=rf"no soundscape '{name}x' among its {N_CLIPS}; did you mean {name}\?"):
        draw(table, clip=f"{name}x")


def test_a_network_whose_run_is_not_finished_is_not_drawn(table, tmp_path):
    # a run that is under way has a best network too, but is in no line
    run = Run("sparse", "gmap", 0)
    checkpoint = run.folder(tmp_path) / "best.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes((run.folder(table) / "best.safetensors").read_bytes())
    with pytest.raises(DataError, match="the finished run sparse gmap seed 0 was expected"):
        draw(tmp_path)


def test_soundscapes_of_one_event_only_leave_nothing_to_choose_from(table, monkeypatch):
    truth = module._truth(table / "data" / "sparse" / "test")
    monkeypatch.setattr(module, "_truth", lambda folder: {name: events[:1] for name, events in truth.items()})
    with pytest.raises(DataError, match="no soundscape has two events one after the other; name a clip to draw"):
        choose_clip(table)
