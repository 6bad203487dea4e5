import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from earmark.audio.recording import load_audio
from earmark.data.soundscapes import SoundscapeConfig, mix_soundscapes, read_soundscapes, render_soundscapes
from earmark.data.synthetic import synthetic_bank
from earmark.errors import CheckpointError, ConfigError, DataError
from earmark.evaluation.localisation import (
    Scenario,
    ScoredRecording,
    TrueEvent,
    psds,
    segment_f1,
)
from earmark.evaluation.report import evaluate
from earmark.inference.tagger import Tagger
from earmark.inference.torch_engine import TorchEngine
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from experiments import localisation_measures
from experiments.localisation_measures import HOP, WINDOWS, best_thresholds, measure
from experiments.pointing import pointing
from experiments.table1.soundscapes import read_truth
from tests.localisation import GOLDEN, golden_recordings

LABELS = ("beeps", "buzz", "hiss")
# wide enough that a network that knows nothing scores something
LENIENT = {
    "PSDS1": Scenario(dtc=0.2, gtc=0.2, alpha_st=0.0, e_max=3000.0),
    "PSDS2": Scenario(dtc=0.1, gtc=0.1, alpha_ct=0.5, alpha_st=0.0, e_max=5000.0),
}


def render(folder: Path, split: str, n_clips: int, n_events: tuple[int, int] = (1, 2)) -> Path:
    config = SoundscapeConfig(
        duration=3.1, sample_rate=16000, event_duration=(0.3, 1.0), n_events=n_events, seed=len(split)
    )
    bank = synthetic_bank(4).select(splits=[split], labels=LABELS)
    render_soundscapes(mix_soundscapes(bank, config, n_clips), folder, jobs=1)
    return folder


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("valid"), "train", 10)


@pytest.fixture(scope="module")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("test"), "test", 14)


def checkpoint(folder: Path, pooling: str, labels: tuple[str, ...] = LABELS) -> Path:
    torch.manual_seed(3)
    network = Network(NetworkConfig(FrontendConfig.at_16k(), width=4, pooling=pooling), LabelSet(labels))
    with torch.no_grad():
        if hasattr(network.pooling, "query"):
            network.pooling.query *= 200  # attention as uneven as training makes it
    network.save(folder / f"{pooling}.safetensors")
    return folder / f"{pooling}.safetensors"


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, scenario in LENIENT.items():
        monkeypatch.setattr(localisation_measures, name, scenario)


def by_hand(tagger: Tagger, folder: Path, window: float) -> list[ScoredRecording]:
    """Score curves, file by file, by the public interface."""
    curves = []
    for clip in read_soundscapes(folder):
        timeline = tagger.timeline(clip.audio.path, window=window, hop=HOP, context=0.0)
        middles = (timeline.onsets + np.minimum(timeline.onsets + window, timeline.duration)) / 2
        borders = [0.0, *((middles[1:] + middles[:-1]) / 2), timeline.duration]
        events = [event for event in read_truth(folder) if event.filename == f"{clip.id}.flac"]
        true = tuple(TrueEvent(LABELS.index(e.label), e.onset, e.offset) for e in events)
        curves.append(ScoredRecording(np.array(borders), timeline.scores, true))
    return curves


def single_events(folder: Path) -> list[tuple[Path, str, float, float]]:
    truth = read_truth(folder)
    names = [event.filename for event in truth]
    alone = [event for event in truth if names.count(event.filename) == 1]
    return [(folder / "audio" / e.filename, e.label, e.onset, e.offset) for e in alone]


@pytest.mark.usefixtures("lenient")
def test_figures_are_those_of_the_tagger_with_what_validation_chose(valid: Path, heldout: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "gmap")
    found = measure(path, valid, heldout, batch_size=4)
    tagger = Tagger(TorchEngine(Network.load(path)))
    chosen = {window: by_hand(tagger, valid, window) for window in WINDOWS}
    for name, scenario in LENIENT.items():
        scores = {window: psds(curves, scenario) for window, curves in chosen.items()}
        assert found["valid"][name] == pytest.approx({f"{window:g}": score for window, score in scores.items()})
        assert scores[found["windows"][name]] == max(scores.values()) > 0
        measured = by_hand(tagger, heldout, found["windows"][name])
        assert found[name] == pytest.approx(psds(measured, scenario))
    window = found["windows"]["F1"]
    thresholds = best_thresholds(chosen[window])
    f1 = segment_f1(by_hand(tagger, heldout, window), thresholds)
    assert (found["F1"], found["F1_micro"]) == pytest.approx((f1.macro, f1.micro))
    assert found["thresholds"] == pytest.approx(dict(zip(LABELS, thresholds, strict=True)))
    assert (found["n_valid_clips"], found["n_test_clips"]) == (10, 14)
    json.dumps(found, allow_nan=False)


def test_tagging_is_that_of_evaluate(valid: Path, heldout: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "attentive_stats")
    found, report = measure(path, valid, heldout), evaluate(Network.load(path), read_soundscapes(heldout))
    assert found["mAP"] == pytest.approx(report.mAP)
    assert found["test_ids_sha256"] == report.clip_ids_sha256


def test_pointing_of_heads_and_evidence(valid: Path, heldout: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "gmap")
    found = measure(path, valid, heldout)["pointing"]
    tagger = Tagger(TorchEngine(Network.load(path)))

    def by(folder: Path, weights) -> float:
        spots = single_events(folder)
        evidence = [tagger.evidence(audio, label) for audio, label, _, _ in spots]
        borders = [np.append(each.onsets, each.offsets[-1]) for each in evidence]
        return pointing([weights(each) for each in evidence], borders, [spot[2:] for spot in spots]).accuracy

    spots = single_events(heldout)
    assert found["n_clips"] == len(spots) >= 4
    # 8 segments, the last of 0.3 s
    edges = [min(0.4 * i, 3.1) for i in range(9)]
    inside = [np.mean([edges[i + 1] > a and edges[i] < b for i in range(8)]) for _, _, a, b in spots]
    assert found["chance"] == pytest.approx(np.mean(inside))
    assert found["evidence"] == pytest.approx(by(heldout, lambda e: e.weights))
    assert found["attention"] == pytest.approx(by(heldout, lambda e: e.attention.sum(axis=0)))
    heads = [by(heldout, lambda e, head=head: e.attention[head]) for head in range(4)]
    assert found["heads"] == pytest.approx(heads)
    before = [by(valid, lambda e, head=head: e.attention[head]) for head in range(4)]
    assert len(set(before)) > 1
    best, worst = int(np.argmax(before)), int(np.argmin(before))
    assert found["best"] == {"head": best, "accuracy": heads[best]}
    assert found["worst"] == {"head": worst, "accuracy": heads[worst]}


@pytest.mark.parametrize(("pooling", "there"), [("mean", set()), ("attention", {"attention", "heads"})])
def test_pointing_covers_the_heads_of_the_pooling(
    pooling: str, there: set[str], valid: Path, heldout: Path, tmp_path: Path
) -> None:
    found = measure(checkpoint(tmp_path, pooling), valid, heldout)["pointing"]
    assert set(found) == {"n_clips", "chance", "evidence"} | there


def test_pointing_without_soundscapes_of_one_event_is_undefined(valid: Path, tmp_path: Path) -> None:
    two = render(tmp_path / "two", "test", 4, n_events=(2, 2))
    assert measure(checkpoint(tmp_path, "mean"), valid, two)["pointing"] == {"n_clips": 0}


def test_labels_unknown_to_validation_get_no_threshold(heldout: Path, tmp_path: Path) -> None:
    few = render(tmp_path / "few", "train", 1, n_events=(1, 1))
    found = measure(checkpoint(tmp_path, "mean"), few, heldout)
    assert sum(threshold is None for threshold in found["thresholds"].values()) == 2


def test_results_do_not_depend_on_batches_and_progress_is_reported(valid: Path, heldout: Path, tmp_path: Path) -> None:
    path, printed = checkpoint(tmp_path, "gmap"), []
    one = measure(path, valid, heldout, batch_size=1, progress=lambda done, total: printed.append((done, total)))
    assert printed == [(n, 24) for n in range(1, 25)]
    many = measure(path, valid, heldout, batch_size=16)
    assert one["mAP"] == pytest.approx(many["mAP"])
    assert one["thresholds"] == pytest.approx(many["thresholds"], rel=1e-4)
    assert one["pointing"] == many["pointing"]


def test_clips_of_several_lengths_encode_as_each_alone(valid: Path, tmp_path: Path) -> None:
    network = Network.load(checkpoint(tmp_path, "gmap"))
    clips = [
        replace(clip, audio=replace(clip.audio, duration=seconds))
        for clip, seconds in zip(read_soundscapes(valid), (3.1, 0.5, 1.7), strict=False)
    ]
    for clip, (same, waveform, segments) in zip(clips, localisation_measures._encode(network, clips, 3), strict=True):
        assert same is clip
        alone = TorchEngine(network).encode(
            load_audio(clip.audio.path, 16000, 0.0, clip.audio.duration).waveform[None]
        )[0]
        assert len(waveform) == round(clip.audio.duration * 16000)
        np.testing.assert_allclose(segments, alone, atol=1e-5)


def test_unmeasurable_inputs_are_refused(valid: Path, heldout: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "mean")
    with pytest.raises(CheckpointError, match="no such file"):
        measure(tmp_path / "nothing.safetensors", valid, heldout)
    with pytest.raises(DataError, match="no soundscapes here"):
        measure(path, tmp_path, heldout)
    with pytest.raises(ConfigError, match="batch_size: 1 or more was expected, not 0"):
        measure(path, valid, heldout, batch_size=0)
    with pytest.raises(DataError, match="unknown label"):
        measure(checkpoint(tmp_path, "max", ("bell", "knocks")), valid, heldout)


# thresholds


def recording(scores: list[float], *events: tuple[int, float, float]) -> ScoredRecording:
    """Cells of 1 s with the scores of one label or, in rows, of several."""
    table = np.array(scores, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    return ScoredRecording(np.arange(len(table) + 1.0), table, tuple(TrueEvent(*event) for event in events))


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_best_thresholds_equal_sed_scores_eval(case: str) -> None:
    recordings, expected = golden_recordings(case), GOLDEN["cases"][case]["figures"]
    thresholds = best_thresholds(recordings)
    np.testing.assert_allclose(thresholds, expected["best_thresholds"], rtol=1e-12)
    f1 = segment_f1(recordings, thresholds)
    assert (f1.micro, f1.macro) == pytest.approx((expected["best_f1"]["micro"], expected["best_f1"]["macro"]))


def test_ties_go_to_the_highest_threshold() -> None:
    # letting through 0.8 finds one of two; letting through 0.2 finds both with two false alarms: F1 is 2/3 each time
    ties = recording([0.8, 0.6, 0.6, 0.2], (0, 0.0, 1.0), (0, 3.0, 4.0))
    assert best_thresholds([ties])[0] == pytest.approx(0.7)
    everything = recording([0.3, 0.3], (0, 0.0, 2.0))
    assert best_thresholds([everything])[0] == pytest.approx(0.3)
    assert segment_f1([everything], best_thresholds([everything])).micro == 1.0


def test_a_label_without_events_is_never_detected() -> None:
    assert best_thresholds([recording([[0.9, 0.9], [0.0, 0.0]], (0, 0.0, 1.0))]).tolist() == [
        pytest.approx(0.45),
        np.inf,
    ]


def test_thresholds_need_recordings_of_the_same_labels() -> None:
    for recordings in ([], [recording([0.1]), recording([[0.1, 0.2]])]):
        with pytest.raises(DataError, match="of the same labels"):
            best_thresholds(recordings)
