"""Calibration: scale and offset, thresholds, and the calibrated network."""

import copy
import json
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss

from earmark.audio.recording import Audio
from earmark.data.clips import Clip, Dataset
from earmark.errors import AudioError, ConfigError, DataError
from earmark.evaluation import calibration
from earmark.evaluation.calibration import Calibration, apply, apply_like, calibrate, fit
from earmark.evaluation.report import LabelFigures, Report, evaluate
from earmark.evaluation.scoring import FailedClip
from earmark.inference.tagger import Tagger
from earmark.inference.torch_engine import TorchEngine
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig

LABELS = LabelSet(("bell", "dog", "rain", "wind"))
CONFIG = NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2)
SOME_LABELS = LabelSet(("rain", "dog"))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def reported(target: np.ndarray, scores: np.ndarray, labels: LabelSet = LABELS, data: str = "made up") -> Report:
    """A report without metrics, which would take longer than the fit."""
    target, nan = np.asarray(target, bool), float("nan")
    figures = [LabelFigures(name, int(n), nan, nan) for name, n in zip(labels, target.sum(axis=0), strict=True)]
    ids = tuple(f"{data}-{i}" for i in range(len(target)))
    scores = np.asarray(scores, np.float32)
    return Report("m", data, nan, nan, nan, (nan, nan), None, tuple(figures), ids, scores, target)


def drawn(
    scale: float, offset: float, n_clips: int, seed: int = 0, labels: LabelSet = LABELS, data: str = "made up"
) -> Report:
    """A target drawn with the log-odds `scale * logit + offset`, and the scores of the logits."""
    rng = np.random.default_rng(seed)
    odds = 2 * rng.standard_normal((n_clips, len(labels))) - 2
    return reported(rng.random(odds.shape) < sigmoid(odds), sigmoid((odds - offset) / scale), labels, data)


def logits(report: Report) -> np.ndarray:
    scores = report.scores.astype(np.float64)
    return np.log(scores / (1 - scores))


# scale and offset


@pytest.mark.parametrize(("scale", "offset"), [(0.4, -1.0), (3.0, 2.0), (1.0, 0.0)])
def test_fit_recovers_a_known_scale_and_offset(scale: float, offset: float) -> None:
    found = fit([drawn(scale, offset, 20_000)], LABELS)
    # 80,000 draws: the deviation of the estimates is about 0.6 % of the scale, and 0.012
    assert found.scale == pytest.approx(scale, rel=0.03)
    assert found.offset == pytest.approx(offset, abs=0.06)


def test_the_fit_equals_logistic_regression() -> None:
    reports = [drawn(0.5, 1.0, 300, 1), drawn(2.0, -1.0, 40, 2, SOME_LABELS)]
    found = fit(reports, LABELS)
    inputs = np.concatenate([logits(r).ravel() for r in reports])[:, None]
    target = np.concatenate([r.target.ravel() for r in reports])
    weight = np.concatenate([np.full(r.target.size, 1 / r.target.size) for r in reports])
    # scikit-learn adds a penalty to the sum of losses; it is negligible in a sum this large
    reference = LogisticRegression(C=1e6, tol=1e-10).fit(inputs, target, sample_weight=1e3 * weight)
    assert found.scale == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert found.offset == pytest.approx(reference.intercept_[0], abs=1e-4)
    for figures, line in ((found.before, (1, 0)), (found.after, (found.scale, found.offset))):
        loss = log_loss(target, sigmoid(line[0] * inputs[:, 0] + line[1]), sample_weight=weight)
        assert figures.cross_entropy == pytest.approx(loss)
    assert found.after.cross_entropy < found.before.cross_entropy


def test_every_data_set_has_the_same_weight() -> None:
    clips, mixed = drawn(0.5, 1.0, 200, 1, SOME_LABELS), drawn(2.0, -1.0, 50, 2)
    often = reported(np.tile(mixed.target, (9, 1)), np.tile(mixed.scores, (9, 1)))
    once, nine_times = fit([clips, mixed], LABELS, 0.0), fit([clips, often], LABELS, 0.0)
    assert nine_times.scale == pytest.approx(once.scale) and nine_times.offset == pytest.approx(once.offset)
    assert nine_times.thresholds == pytest.approx(once.thresholds)
    assert nine_times.pooled_threshold == pytest.approx(once.pooled_threshold)
    assert nine_times.before == pytest.approx(once.before) and nine_times.after == pytest.approx(once.after)


def test_scores_of_0_and_1_give_a_finite_fit() -> None:
    target = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 0]])
    scores = np.array([[1.0, 0.0], [0.9, 1e-30], [0.0, 1.0], [1.0, 0.5], [0.0, 0.7]])
    found = fit([reported(target, scores, SOME_LABELS)], SOME_LABELS)
    assert np.isfinite([found.scale, found.offset, *found.before, *found.after, *found.thresholds]).all()


def test_logits_far_from_0_do_not_stop_the_fit() -> None:
    rng = np.random.default_rng(0)
    target = rng.random((500, 1)) < 0.3
    far = reported(target, sigmoid(rng.standard_normal((500, 1)) + target - 60), LabelSet(("dog",)))
    found = fit([far], LabelSet(("dog",)))
    assert found.scale == pytest.approx(1.0, abs=0.3)
    assert found.offset == pytest.approx(60, abs=20)


def test_confident_mistakes_do_not_stop_the_fit() -> None:
    # two scores of 0, one of them wrong: full Newton steps diverge
    target = np.array([*(i > 1 for i in range(46)), False, True])[:, None]
    raw = np.concatenate([np.linspace(-0.5, 3.5, 46), [-90, -90]])[:, None]
    report = reported(target, sigmoid(raw), LabelSet(("dog",)))
    found = fit([report], LabelSet(("dog",)))
    raw[-2:] = np.log(np.finfo(np.float32).tiny)
    wrong = sigmoid(found.scale * raw + found.offset) - target
    assert abs(wrong.mean()) < 1e-6 and abs((wrong * raw).mean()) < 1e-5, "the slopes at the minimum"


# metrics


def test_the_expected_calibration_error_follows_its_definition() -> None:
    reports = [drawn(0.3, 0.5, 400, 1), drawn(1.0, 0.0, 30, 2)]
    scores = np.concatenate([r.scores.astype(np.float64).ravel() for r in reports])
    target = np.concatenate([r.target.ravel() for r in reports])
    weight = np.concatenate([np.full(r.target.size, 0.5 / r.target.size) for r in reports])
    expected = 0.0
    for i in range(15):
        inside = (scores >= i / 15) & ((scores < (i + 1) / 15) | (i == 14))
        if inside.any():
            mean, share = (np.average(x[inside], weights=weight[inside]) for x in (scores, target))
            expected += weight[inside].sum() * abs(mean - share)
    assert fit(reports, LABELS).before.expected_calibration_error == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("scale", "offset"), [(0.3, 0.0), (3.0, 0.0), (1.0, -2.0)])
def test_the_expected_calibration_error_falls_on_unseen_clips(scale: float, offset: float) -> None:
    found = fit([drawn(scale, offset, 1000, 1)], LABELS)
    assert found.after.expected_calibration_error < 0.3 * found.before.expected_calibration_error
    fresh = drawn(scale, offset, 1000, 2)
    errors = []
    for line in ((1, 0), (found.scale, found.offset)):
        scores = sigmoid(line[0] * logits(fresh) + line[1])
        bins = np.minimum((scores * 15).astype(int), 14)
        errors.append(sum(abs((scores - fresh.target)[bins == i].sum()) for i in range(15)) / scores.size)
    assert errors[1] < 0.3 * errors[0]


def test_f1_before_and_after_equals_scikit_learn() -> None:
    # data sets have the same labels, so clip weights serve both
    reports = [drawn(0.5, 1.0, 150, 1), drawn(0.5, 1.0, 40, 2)]
    found = fit(reports, LABELS)
    raw, target = np.concatenate([logits(r) for r in reports]), np.concatenate([r.target for r in reports])
    weight = np.concatenate([np.full(len(r.target), 1 / len(r.target)) for r in reports])
    for figures, chosen in (
        (found.before, sigmoid(raw) >= 0.5),
        (found.after, sigmoid(found.scale * raw + found.offset) >= found.thresholds),
    ):
        for average, value in (("macro", figures.f1_macro), ("micro", figures.f1_micro)):
            assert value == pytest.approx(f1_score(target, chosen, average=average, sample_weight=weight))
    assert found.after.f1_macro > found.before.f1_macro


# thresholds


def weighted_f1(target: np.ndarray, chosen: np.ndarray, weight: np.ndarray) -> float:
    return 2 * weight[target & chosen].sum() / (weight[target].sum() + weight[chosen].sum())


def best_of_all(target: np.ndarray, scores: np.ndarray, weight: np.ndarray, near: float) -> tuple[float, float]:
    """The threshold nearest to `near` of best F1, and that F1, by trying all midpoints."""
    steps = sorted({0.0, *scores})
    tried = [(low + high) / 2 for low, high in pairwise(steps)]
    values = [weighted_f1(target, scores >= threshold, weight) for threshold in tried]
    best = [threshold for threshold, value in zip(tried, values, strict=True) if value > max(values) - 1e-9]
    return min(best, key=lambda threshold: abs(threshold - near)), max(values)


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), n_clips=st.integers(8, 30), n_levels=st.sampled_from([4, 9, 1000]))
def test_no_threshold_has_a_higher_f1(seed: int, n_clips: int, n_levels: int) -> None:
    rng = np.random.default_rng(seed)
    reports = []
    for n in (n_clips, 8):
        target = rng.random((n, 2)) < 0.4
        target[:2] = [[True, False], [False, True]]
        scores = np.clip(rng.random((n, 2)) * 0.8 + 0.2 * target, 0.001, 0.999)
        scores[:2] = [[0.9, 0.91], [0.05, 0.06]]  # at least one mistake
        scores[2:4], target[2:4] = 0.95, True
        reports.append(reported(target, np.ceil(scores * n_levels) / (n_levels + 1), SOME_LABELS, str(n)))
    raw, target = np.concatenate([logits(r) for r in reports]), np.concatenate([r.target for r in reports])
    weight = np.repeat([1 / n_clips, 1 / 8], [n_clips, 8])
    each = np.repeat(weight, 2).reshape(-1, 2)
    better_than_chance = np.average(raw[target], weights=each[target]) > np.average(raw[~target], weights=each[~target])
    assume(better_than_chance)
    found = fit(reports, SOME_LABELS, shrinkage=0.0)
    scores = sigmoid(found.scale * raw + found.offset)
    pooled, _ = best_of_all(target.ravel(), scores.ravel(), each.ravel(), near=0.5)
    assert found.pooled_threshold == pytest.approx(pooled)
    for i in range(2):
        threshold, best = best_of_all(target[:, i], scores[:, i], weight, near=pooled)
        assert weighted_f1(target[:, i], scores[:, i] >= found.thresholds[i], weight) == pytest.approx(best)
        assert found.thresholds[i] == pytest.approx(threshold)


def test_ties_go_to_the_pooled_threshold_nearest_to_a_half() -> None:
    target, scores = [[1], [0], [0], [1], [0], [0]], np.array([[0.9], [0.7], [0.6], [0.5], [0.3], [0.1]])
    found = fit([reported(np.array(target), scores, LabelSet(("dog",)))], LabelSet(("dog",)))
    calibrated = sigmoid(found.scale * np.log(scores / (1 - scores)) + found.offset)[:, 0]
    high, low = calibrated[:2].mean(), calibrated[3:5].mean()
    assert abs(high - 0.5) < abs(low - 0.5) and high > low > 0.1
    assert found.pooled_threshold == pytest.approx(high)
    assert found.thresholds[0] == pytest.approx(found.pooled_threshold)


def test_few_positives_draw_a_threshold_near_the_pooled_one() -> None:
    clips = drawn(0.5, 0.0, 200, 3, LabelSet(("bell", "dog", "rain")))
    clips.target[:, 1] = False
    clips.target[:4, 1] = True
    own, shrunk = fit([clips], LABELS, shrinkage=0.0), fit([clips], LABELS, shrinkage=10.0)
    assert own.n_positive[1] == 4 and own.n_positive[3] == 0
    assert own.thresholds[3] == shrunk.thresholds[3] == own.pooled_threshold == shrunk.pooled_threshold
    assert own.n_pooled == shrunk.n_pooled == 1
    assert own.thresholds[1] < 0.5 * own.pooled_threshold, "four clips give a threshold far from the pooled one"
    assert fit([clips], LABELS).thresholds == fit([clips], LABELS, shrinkage=40.0).thresholds
    pooled = np.log(own.pooled_threshold / (1 - own.pooled_threshold))
    for i in range(3):
        before, after = (np.log(each.thresholds[i] / (1 - each.thresholds[i])) for each in (own, shrunk))
        n = own.n_positive[i]
        assert after == pytest.approx((n * before + 10 * pooled) / (n + 10)), "the weighted mean in log-odds"


# the network


@dataclass(frozen=True)
class Noise:
    """Noise of random level and spectrum."""

    seed: int

    def load(self, sample_rate: int) -> Audio:
        rng = np.random.default_rng(self.seed)
        noise = np.convolve(rng.standard_normal(sample_rate // 2), np.ones(rng.integers(1, 30)), "same")
        return Audio((10 ** rng.uniform(-3, -1) * noise).astype(np.float32), sample_rate)


class Unreadable:
    def load(self, sample_rate: int) -> Audio:
        raise AudioError("broken.wav: cut off")


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    network = Network(CONFIG, LABELS).eval()
    network.extra = {"seed": 7}
    return network


@pytest.fixture(scope="module")
def dataset(network: Network) -> Dataset:
    """Clips with labels where the network's logit plus noise is high."""
    clips = [Clip(f"clip-{i:02}", (), Noise(i)) for i in range(60)]
    scores = logits(evaluate(network, Dataset("noises", LABELS, tuple(clips))))
    rng = np.random.default_rng(0)
    noisy = scores / scores.std(axis=0) + rng.standard_normal(scores.shape)
    target = noisy > np.quantile(noisy, 0.7, axis=0)
    return Dataset(
        "noises", LABELS, tuple(replace(c, labels=LABELS.decode(t)) for c, t in zip(clips, target, strict=True))
    )


@pytest.fixture(scope="module")
def found(network: Network, dataset: Dataset) -> Calibration:
    return calibrate(network, [dataset])


def test_the_calibrated_network_keeps_its_ranking_and_has_the_fitted_scores(
    network: Network, dataset: Dataset, found: Calibration
) -> None:
    before, after = evaluate(network, dataset), evaluate(apply(network, found), dataset)
    assert found.scale != pytest.approx(1.0, rel=0.1)
    np.testing.assert_allclose(after.scores, sigmoid(found.scale * logits(before) + found.offset), rtol=1e-3)
    np.testing.assert_array_equal(np.argsort(after.scores, axis=0), np.argsort(before.scores, axis=0))
    np.testing.assert_array_equal(after.scores.argmax(axis=1), before.scores.argmax(axis=1))
    assert (after.mAP, after.mAUC) == (before.mAP, before.mAUC)
    assert weighted_f1(after.target, after.scores >= found.thresholds, np.ones((60, 4))) == pytest.approx(
        found.after.f1_micro
    )


def test_a_second_calibration_changes_nothing(network: Network, dataset: Dataset, found: Calibration) -> None:
    again = calibrate(apply(network, found), [dataset])
    assert again.scale == pytest.approx(1.0, abs=1e-3) and again.offset == pytest.approx(0.0, abs=1e-3)
    assert again.before.cross_entropy == pytest.approx(found.after.cross_entropy, rel=1e-5)
    assert again.before.expected_calibration_error == pytest.approx(found.after.expected_calibration_error, abs=1e-4)
    assert again.thresholds == pytest.approx(found.thresholds, abs=1e-4)


def test_a_checkpoint_keeps_the_calibration(network: Network, found: Calibration, tmp_path: Path) -> None:
    calibrated = apply(network, found)
    calibrated.save(tmp_path / "calibrated.safetensors")
    loaded = Network.load(tmp_path / "calibrated.safetensors")
    assert loaded.thresholds == TorchEngine(loaded).thresholds == found.thresholds
    assert loaded.extra == {"seed": 7, "calibration": found.facts()}
    waveform = torch.from_numpy(Noise(1).load(16000).waveform)[None]
    with torch.inference_mode():
        assert torch.equal(loaded(waveform), calibrated(waveform))


def test_at_the_instance_level_the_pooled_logits_are_calibrated(network: Network, found: Calibration) -> None:
    pooled = Network(replace(network.config, pooling="linear_softmax"), network.labels).eval()
    waveform, facts = torch.randn(2, 16000), found.facts()
    with torch.inference_mode():
        expected = float(facts["scale"]) * pooled(waveform) + float(facts["offset"])
        torch.testing.assert_close(apply(pooled, found)(waveform), expected)


def test_calibration_does_not_change_the_given_network(network: Network, found: Calibration) -> None:
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    calibrated = apply(network, found)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert network.thresholds is None and network.extra == {"seed": 7}
    changed = [name for name, tensor in calibrated.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == ["classifier.3.weight", "classifier.3.bias"]


def test_the_calibration_names_its_clips(network: Network, dataset: Dataset, found: Calibration) -> None:
    assert [tuple(clips) for clips in found.data] == [("noises", 60, dataset.clip_ids_sha256())]
    broken = replace(dataset, name="broken", clips=(*dataset.clips[:20], Clip("cut", ("dog",), Unreadable())))
    seen: list[tuple[int, int]] = []
    both = calibrate(
        network, [broken, dataset], batch_size=30, progress=lambda done, n_clips: seen.append((done, n_clips))
    )
    assert [(clips.name, clips.n_clips) for clips in both.data] == [("broken", 20), ("noises", 60)]
    assert both.failed == (FailedClip("cut", "broken.wav: cut off"),)
    assert seen == [(21, 81), (51, 81), (81, 81)]


def test_the_facts_are_json(found: Calibration) -> None:
    assert json.loads(json.dumps(found.to_json(), allow_nan=False)) == found.to_json()
    assert found.to_json().keys() == found.facts().keys() | {"labels"}
    assert [row["label"] for row in found.to_json()["labels"]] == list(LABELS.names)
    assert found.facts()["data"][0]["clip_ids_sha256"] == found.data[0].clip_ids_sha256


# invalid input


def test_scores_worse_than_chance_are_refused() -> None:
    report = drawn(1.0, 0.0, 100)
    with pytest.raises(DataError, match=r"no better than chance: .* is -\d\S*; train the network"):
        fit([replace(report, scores=1 - report.scores)], LABELS)
    with pytest.raises(DataError, match="no better than chance"):
        fit([replace(report, scores=np.full_like(report.scores, 0.3))], LABELS)


def test_perfectly_separated_scores_are_refused() -> None:
    target = np.eye(4)[np.arange(40) % 4]
    with pytest.raises(DataError, match=r"above all negatives, so the best scale is infinite; calibrate on more clips"):
        fit([reported(target, 0.2 + 0.6 * target)], LABELS)


def test_a_fit_without_convergence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "_MAX_STEPS", 2)
    with pytest.raises(DataError, match="did not converge in 2 steps; calibrate on more clips"):
        fit([drawn(0.4, 1.0, 100)], LABELS)


@pytest.mark.parametrize(("value", "text"), [(0, "there are no positives"), (1, "there are no negatives")])
def test_clips_without_positives_or_negatives_are_refused(value: int, text: str) -> None:
    scores = np.random.default_rng(0).random((10, 4))
    with pytest.raises(DataError, match=text):
        fit([reported(np.full((10, 4), value), scores)], LABELS)


def test_labels_that_the_network_lacks_are_refused(dataset: Dataset) -> None:
    with pytest.raises(DataError, match=r"noises: the network does not know 2 of its 4 labels \(bell; wind\)"):
        calibrate(Network(CONFIG, SOME_LABELS), [dataset])


def test_invalid_settings_are_refused(network: Network, dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match="at least one data set"):
        calibrate(network, [])
    with pytest.raises(ConfigError, match="a finite number of 0 or more was expected, not -1"):
        calibrate(network, [dataset], shrinkage=-1.0)
    with pytest.raises(ConfigError, match="a finite number of 0 or more was expected, not nan"):
        fit([drawn(1.0, 0.0, 50)], LABELS, shrinkage=float("nan"))
    with pytest.raises(ConfigError, match="a finite number of 0 or more was expected, not inf"):
        fit([drawn(1.0, 0.0, 50)], LABELS, shrinkage=float("inf"))


def test_a_calibration_of_other_labels_is_refused(found: Calibration) -> None:
    with pytest.raises(ConfigError, match="for the network's 2 labels, got one for 4 other labels"):
        apply(Network(CONFIG, SOME_LABELS), found)


def test_a_calibration_is_copied_to_a_network_trained_alike(network: Network, found: Calibration) -> None:
    torch.manual_seed(5)
    other = Network(CONFIG, LABELS)
    copied, expected = apply_like(other, apply(network, found)), apply(other, found)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(copied.state_dict()[name], tensor, rtol=0, atol=0)
    assert copied.thresholds == found.thresholds
    assert copied.extra["calibration"] == {**found.facts(), "copied": True}
    assert other.thresholds is None and "calibration" not in other.extra
    with pytest.raises(ConfigError, match="expected a calibrated checkpoint to copy from"):
        apply_like(other, network)
    with pytest.raises(ConfigError, match="expected a calibration for the network's 2 labels"):
        apply_like(Network(CONFIG, SOME_LABELS), apply(network, found))
    with pytest.raises(ConfigError, match="expected a network without calibration"):
        apply_like(apply(network, found), apply(network, found))


@dataclass(frozen=True)
class Among:
    """A sound of 0.5 s in 2 s of faint noise."""

    audio: Noise

    def load(self, sample_rate: int) -> Audio:
        waveform = self.audio.load(sample_rate).waveform
        noise = np.random.default_rng(self.audio.seed).standard_normal(2 * sample_rate) / 1000
        noise[sample_rate : sample_rate + len(waveform)] += waveform
        return Audio(noise.astype(np.float32), sample_rate)


def test_long_clips_are_calibrated_on_the_scores_of_the_tagger(network: Network, dataset: Dataset) -> None:
    short = copy.deepcopy(network)
    short.extra["clip_duration"] = 0.8
    tagger = Tagger(TorchEngine(short))
    clips = [replace(clip, audio=Among(clip.audio)) for clip in dataset]
    scores = np.stack([tagger.score(clip.load(16000)).scores for clip in clips])
    noisy = scores / scores.std(axis=0) + np.random.default_rng(0).standard_normal(scores.shape)
    target = noisy > np.quantile(noisy, 0.7, axis=0)
    labelled = (replace(clip, labels=LABELS.decode(row)) for clip, row in zip(clips, target, strict=True))
    longer = replace(dataset, clips=tuple(labelled))
    whole, by_windows = calibrate(network, [longer], n_workers=0), calibrate(short, [longer], n_workers=0)
    assert by_windows.thresholds != whole.thresholds
    assert fit([replace(evaluate(short, longer), scores=scores)], short.labels) == by_windows


@dataclass
class CountedLoads:
    """Another reader's sound; counts how often it is loaded."""

    audio: Any
    n: int = 0

    def load(self, sample_rate: int) -> Audio:
        self.n += 1
        return self.audio.load(sample_rate)


def test_each_clip_is_decoded_once(network: Network, dataset: Dataset) -> None:
    counted = replace(dataset, clips=tuple(replace(clip, audio=CountedLoads(clip.audio)) for clip in dataset))
    calibrate(network, [counted], n_workers=0)
    assert {clip.audio.n for clip in counted} == {1}


def test_unknown_pairs_do_not_count():
    report = drawn(1.5, -1.0, 200)
    known = np.ones(report.target.shape, bool)
    known[150:] = False
    wrong = report.target.copy()
    wrong[150:] = False  # an unknown label is no negative
    partly = fit([replace(report, target=wrong, known=known)], LABELS)
    alone = fit([reported(report.target[:150], report.scores[:150])], LABELS)
    assert (partly.scale, partly.offset) == pytest.approx((alone.scale, alone.offset))
    assert partly.thresholds == pytest.approx(alone.thresholds)
