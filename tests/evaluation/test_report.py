"""Evaluation: metrics, independence of batches, and unreadable clips."""

import json
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from earmark.audio.recording import Audio
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.errors import AudioError, ConfigError, DataError
from earmark.evaluation.metrics import average_precision
from earmark.evaluation.report import evaluate, measure
from earmark.evaluation.scoring import FailedClip
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig

LABELS = LabelSet(("bell", "dog", "rain"))
CONFIG = NetworkConfig(FrontendConfig.at_16k(), width=2)
CONTRACT = {"n_clips", "n_labels", "clip_ids_sha256", "mAP", "mAUC", "d_prime", "mAP_interval", "labels"}


@dataclass(frozen=True)
class Level:
    """A constant sound, which `Listener` recognises by its value."""

    value: float
    duration: float = 0.1

    def load(self, sample_rate: int) -> Audio:
        return Audio(np.full(round(self.duration * sample_rate), self.value, np.float32), sample_rate)


@dataclass(frozen=True)
class Noise:
    seed: int
    duration: float

    def load(self, sample_rate: int) -> Audio:
        noise = np.random.default_rng(self.seed).standard_normal(round(self.duration * sample_rate))
        return Audio(0.1 * noise.astype(np.float32), sample_rate)


class Unreadable:
    def load(self, sample_rate: int) -> Audio:
        raise AudioError("broken.wav: cut off")


class Listener(Network):
    """Gives label i a high logit for a clip of the constant i / 10; records its batches."""

    def __init__(self, labels: LabelSet = LABELS, bias: float = 0.0) -> None:
        super().__init__(CONFIG, labels)
        self.bias = bias
        self.batches: list[tuple[int, ...]] = []

    def forward(self, waveform: Tensor, n_samples: Tensor | None = None) -> Tensor:
        self.batches.append(tuple(waveform.shape))
        assert not torch.is_grad_enabled() and not self.training
        level = waveform.sum(1) / n_samples
        return self.bias - 100 * (level[:, None] - torch.arange(len(self.labels)) / 10).abs()


def levels(n_clips: int = 12, **extra: object) -> Dataset:
    clips = [Clip(f"clip-{i:02}", (LABELS.names[i % 3],), Level(i % 3 / 10)) for i in range(n_clips)]
    return Dataset("levels", LABELS, tuple(clips), **extra)


def noises(durations: list[float]) -> Dataset:
    clips = [Clip(f"noise-{i}", (LABELS.names[i % 3],), Noise(i, seconds)) for i, seconds in enumerate(durations)]
    return Dataset("noises", LABELS, tuple(clips))


def test_metrics_of_a_perfect_network() -> None:
    report = evaluate(Listener(), levels(), model="listener")
    assert (report.mAP, report.mAUC, report.top1, report.d_prime) == (1.0, 1.0, 1.0, math.inf)
    assert report.mAP_interval == (1.0, 1.0)
    assert [figures.n_positive for figures in report.labels] == [4, 4, 4]
    assert (report.model, report.data) == ("listener", "levels")
    assert report.clip_ids_sha256 == levels().clip_ids_sha256()


def test_ids_that_are_not_text_have_the_hash_of_the_data_set() -> None:
    dataset = levels()
    dataset = replace(dataset, clips=(replace(dataset[0], id="a\udcff.wav"), *dataset.clips[1:]))
    assert evaluate(Listener(), dataset).clip_ids_sha256 == dataset.clip_ids_sha256()


def test_metrics_with_mistakes() -> None:
    dataset = levels(6)
    wrong = replace(dataset.clips[0], audio=Level(0.1))
    report = evaluate(Listener(), replace(dataset, clips=(wrong, *dataset.clips[1:])))
    assert report.top1 == pytest.approx(5 / 6)
    # the bell with a dog's value ties with both dogs, below the other bell
    assert [figures.average_precision for figures in report.labels] == pytest.approx([(1 + 2 / 4) / 2, 2 / 3, 1.0])


def test_labels_are_matched_by_name() -> None:
    network = Listener(LabelSet(("siren", "dog", "wind", "bell", "rain"), ids=("bell-id", "1", "2", "3", "4")))
    order = {"bell": 0.3, "dog": 0.1, "rain": 0.4}
    clips = tuple(Clip(name, (name,), Level(level)) for name, level in order.items())
    report = evaluate(network, Dataset("named", LABELS, clips))
    assert report.mAP == report.top1 == 1.0
    assert report.scores.shape == (3, 3)
    assert [figures.label for figures in report.labels] == list(LABELS.names)


def test_labels_that_the_network_lacks_are_named() -> None:
    with pytest.raises(DataError, match=r"levels: the network does not know 2 of its 3 labels \(bell; rain\); select"):
        evaluate(Listener(LabelSet(("dog", "wind"))), levels())


def test_renamed_labels_are_matched_by_mid() -> None:
    dataset = levels(12)
    renamed = {"bell": "Church_bell", "dog": "dog", "rain": "rain"}
    clips = tuple(replace(clip, labels=tuple(renamed[name] for name in clip.labels)) for clip in dataset)
    labels = LabelSet(tuple(renamed.values()), ("/m/03w41f", "/m/0bt9lr", "/m/06mb1"))
    network = LabelSet(("bell", "dog", "rain"), ("/m/03w41f", "/m/of_dog", "/m/of_rain"))
    report = evaluate(Listener(network), replace(dataset, clips=clips, labels=labels))
    assert [figure.label for figure in report.labels] == list(renamed.values())
    assert report.mAP == evaluate(Listener(network), dataset).mAP


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("0", "1", "2"), ("0", "1", "2")),  # numbers identify labels of one data set only
        (("x", "y", "z"), ("0", "1", "2")),
        (("x", "y", "z"), ("bell", "dog", "rain")),  # ids are not matched with names
        (("bell", "x", "rain"), ("/m/a", "/m/03w41f", "/m/b")),  # one logit for two labels
    ],
)
def test_other_ids_are_not_matched(names: tuple[str, ...], ids: tuple[str, ...]) -> None:
    dataset = levels(12)
    words = dict(zip(LABELS.names, names, strict=True))
    clips = tuple(replace(clip, labels=tuple(words[name] for name in clip.labels)) for clip in dataset)
    network = Listener(LabelSet(LABELS.names, ("/m/03w41f", "1", "2")))
    with pytest.raises(DataError, match=r"the network does not know [23] of its 3 labels"):
        evaluate(network, replace(dataset, clips=clips, labels=LabelSet(names, ids)))


def test_labels_without_positives_are_excluded_from_means() -> None:
    report = evaluate(Listener(), levels(2))
    assert math.isnan(report.labels[2].average_precision)
    assert (report.mAP, report.n_labels_with_positives) == (1.0, 2)


def test_top1_needs_exactly_one_label_per_clip() -> None:
    for labels in (("bell", "dog"), ()):
        dataset = levels(6)
        assert (
            evaluate(Listener(), replace(dataset, clips=(replace(dataset[0], labels=labels), *dataset.clips[1:]))).top1
            is None
        )


def test_unreadable_clips_are_named_and_excluded(tmp_path: Path) -> None:
    dataset = levels(12, missing=("lost",))
    broken = {3: Unreadable(), 7: FileAudio(tmp_path / "none.wav")}
    clips = tuple(replace(clip, audio=broken.get(i, clip.audio)) for i, clip in enumerate(dataset))
    report = evaluate(Listener(), replace(dataset, clips=clips), batch_size=2)
    assert report.failed[:2] == (
        FailedClip("lost", "its file is missing"),
        FailedClip("clip-03", "broken.wav: cut off"),
    )
    assert report.failed[2].id == "clip-07" and "none.wav" in report.failed[2].error
    kept = tuple(clip for i, clip in enumerate(dataset) if i not in broken)
    assert report.ids == tuple(clip.id for clip in kept)
    assert report.clip_ids_sha256 == replace(dataset, clips=kept).clip_ids_sha256()
    assert report.mAP == 1.0


def test_a_data_set_without_readable_clips_is_an_error() -> None:
    clips = tuple(replace(clip, audio=Unreadable()) for clip in levels(3))
    with pytest.raises(DataError, match=r"levels: none of its 3 clips can be read; 'clip-00': broken\.wav: cut off"):
        evaluate(Listener(), Dataset("levels", LABELS, clips, missing=("lost",)))


def test_the_batch_size_does_not_change_the_report() -> None:
    torch.manual_seed(0)
    network = Network(CONFIG, LABELS)
    dataset = noises([0.5, 2.0, 1.01, 0.013, 3.3, 0.7, 1.0])
    alone = evaluate(network, dataset, batch_size=1, n_workers=0)
    assert len(np.unique(alone.scores)) == alone.scores.size
    for batch_size in (2, 3, 7, 50):
        together = evaluate(network, dataset, batch_size=batch_size)
        np.testing.assert_allclose(together.scores, alone.scores, rtol=1e-4, atol=1e-6)
        assert together.ids == alone.ids
        assert together.to_json()["mAP"] == pytest.approx(alone.mAP)


@pytest.mark.parametrize("n_workers", [1, 3, 20])
def test_threads_do_not_change_the_report(n_workers: int) -> None:
    network = Network(CONFIG, LABELS)
    dataset = noises([0.5, 2.0, 1.0, 0.2] * 3)
    inline = evaluate(network, dataset, batch_size=5, n_workers=0)
    np.testing.assert_array_equal(evaluate(network, dataset, batch_size=5, n_workers=n_workers).scores, inline.scores)


def test_batches_have_a_limited_duration() -> None:
    clips = [(1.0, 3), (150.0, 1), (1.0, 1), (400.0, 1), (1.0, 17)]
    durations = [seconds for seconds, times in clips for _ in range(times)]
    network = Listener()
    evaluate(network, noises(durations), batch_size=16)
    # padding counts: 4 x 150 s exceed the limit, 2 x 150 s do not
    assert [(n, length // 16000) for n, length in network.batches] == [(3, 1), (2, 150), (1, 400), (16, 1), (1, 1)]


def test_few_clips_are_in_memory_at_once(wait_until: Callable[..., None]) -> None:
    """Decoding runs ahead of the network by at most one batch and the workers."""
    ahead: list[int] = []
    lock = threading.Lock()
    counts = {"decoded": 0, "done": 0}

    class Counted:
        def load(self, sample_rate: int) -> Audio:
            with lock:
                counts["decoded"] += 1
            return Level(0.1).load(sample_rate)

    class Slow(Listener):
        def forward(self, waveform: Tensor, n_samples: Tensor | None = None) -> Tensor:
            wait_until(lambda: counts["decoded"] > counts["done"] + 4 or counts["decoded"] == 60)
            time.sleep(0.02)  # in which more would be decoded than may be
            with lock:
                ahead.append(counts["decoded"] - counts["done"])
                counts["done"] += len(waveform)
            return super().forward(waveform, n_samples)

    clips = tuple(Clip(str(i), ("dog",), Counted()) for i in range(60))
    evaluate(Slow(), Dataset("counted", LABELS, clips), batch_size=4, n_workers=2)
    # this batch, the next one, the sound that closes it, and the workers' own
    assert 4 < max(ahead) <= 4 + 4 + 1 + 2


def test_progress_counts_every_clip() -> None:
    seen: list[tuple[int, int]] = []
    clips = tuple(replace(clip, audio=Unreadable()) if i == 4 else clip for i, clip in enumerate(levels(10)))
    evaluate(Listener(), Dataset("l", LABELS, clips), batch_size=4, progress=lambda done, n: seen.append((done, n)))
    assert seen == [(4, 10), (8, 10), (10, 10)]


def test_an_interruption_ends_threads_and_restores_the_network() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(done: int, n_clips: int) -> None:
        raise Interrupted

    network = Listener().train()
    before = set(threading.enumerate())
    with pytest.raises(Interrupted):
        evaluate(network, levels(60), batch_size=2, progress=interrupt)
    assert not set(threading.enumerate()) - before
    assert network.training and torch.is_grad_enabled()


def test_each_part_of_the_network_keeps_its_mode() -> None:
    network = Network(CONFIG, LABELS).train()
    network.backbone.bn0.eval()
    before = {name: module.training for name, module in network.named_modules()}
    statistics = network.backbone.bn0.running_mean.clone()
    evaluate(network, noises([0.5, 1.0]))
    assert {name: module.training for name, module in network.named_modules()} == before
    assert torch.equal(network.backbone.bn0.running_mean, statistics)


def test_a_diverged_network_is_an_error() -> None:
    with pytest.raises(DataError, match="clip 'clip-00': the network's scores are not finite"):
        evaluate(Listener(bias=math.nan), levels())


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"batch_size": 0}, "batch_size: at least 1 was expected, not 0"),
        ({"n_workers": -1}, "n_workers: at least 0"),
        ({"device": "abacus"}, "device: auto, cpu, cuda, .* was expected, not 'abacus'"),
        pytest.param(
            {"device": "cuda"},
            "device: cuda was requested, but PyTorch finds 0 CUDA devices",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        evaluate(Listener(), levels(), **settings)


def test_a_saved_report_holds_metrics_and_scores(tmp_path: Path) -> None:
    report = evaluate(Listener(), levels(8, missing=("lost|1",)), model="runs/a.safetensors")
    report.save(tmp_path / "new" / "folder")
    folder = tmp_path / "new" / "folder"
    assert sorted(path.name for path in folder.iterdir()) == ["report.json", "report.md", "scores.npz"]

    figures = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert figures.keys() == CONTRACT | {"model", "data", "top1", "n_labels_with_positives", "failed"} | {
        "long_clips",
        "n_long_clips",
        "n_unknown",
    }
    assert (figures["n_clips"], figures["n_labels"], figures["mAP_interval"]) == (8, 3, [1.0, 1.0])
    assert figures["d_prime"] is None, "JSON knows no infinity"
    assert figures["labels"][1] == {"label": "dog", "n_positive": 3, "average_precision": 1.0, "auc": 1.0}
    assert figures["failed"] == [{"id": "lost|1", "error": "its file is missing"}]

    with np.load(folder / "scores.npz", allow_pickle=False) as saved:
        assert saved["ids"].tolist() == list(report.ids)
        assert saved["labels"].tolist() == list(LABELS.names)
        assert (saved["scores"].dtype, saved["target"].dtype) == (np.float32, np.uint8)
        np.testing.assert_array_equal(average_precision(saved["target"], saved["scores"]), [1, 1, 1])


def test_scores_are_saved_under_any_name(tmp_path: Path) -> None:
    evaluate(Listener(), levels(8)).save_scores(tmp_path / "scores")
    assert [path.name for path in tmp_path.iterdir()] == ["scores"]
    with np.load(tmp_path / "scores", allow_pickle=False) as saved:
        assert len(saved["ids"]) == 8


def test_a_label_without_positives_is_null_in_json(tmp_path: Path) -> None:
    evaluate(Listener(), levels(2)).save(tmp_path)
    figures = json.loads((tmp_path / "report.json").read_text())
    assert figures["labels"][2] == {"label": "rain", "n_positive": 0, "average_precision": None, "auc": None}


def test_the_markdown_report_lists_labels_and_failed_clips() -> None:
    rng = np.random.default_rng(0)
    target = rng.random((200, 3)) < [0.2, 0.3, 0.0]
    scores = (target * [2.0, 1.0, 0.0] + rng.standard_normal((200, 3))).astype(np.float32)
    report = measure(
        target,
        scores,
        ids=[str(i) for i in range(200)],
        labels=LabelSet(("dog", "rain | hail", "wind")),
        model="m",
        data="d",
        failed=[FailedClip("x", "x.wav: cut\noff")],
    )
    text = report.markdown()
    low, high = report.mAP_interval
    assert f"| mAP | {report.mAP:.3f} (95 % interval {low:.3f} to {high:.3f}) |" in text
    assert "Measured on 200 of 201 clips (99.5%). Means are over the 2 of 3 labels" in text
    assert report.clip_ids_sha256 in text
    assert "top-1" not in text
    rows = [line for line in text.splitlines() if line.startswith(("| dog", "| rain", "| wind"))]
    assert [row.split(" ")[1] for row in rows] == ["dog", "rain", "wind"]
    assert rows[1].startswith(r"| rain \| hail | ") and rows[2] == "| wind | 0 | - | - |"
    assert "| x | x.wav: cut off |" in text


def test_unknown_labels_do_not_count():
    data = levels(8)
    first = replace(data[0], labels=(), known=())
    report = evaluate(Listener(), replace(data, clips=(first, *data.clips[1:])))
    whole = evaluate(Listener(), replace(data, clips=data.clips[1:]))
    assert report.n_unknown == 3 and report.to_json()["n_unknown"] == 3
    assert (report.mAP, report.mAUC, report.labels) == (whole.mAP, whole.mAUC, whole.labels)
    assert "Left out: 3 of 24 pairs of clip and label, which are unknown." in report.markdown()
