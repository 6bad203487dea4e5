import itertools
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.errors import ConfigError, DataError
from earmark.evaluation.localisation import (
    PSDS1,
    PSDS2,
    Scenario,
    ScoredRecording,
    TrueEvent,
    event_f1,
    psds,
    segment_f1,
)
from tests.localisation import GOLDEN, golden_recordings

EASY = Scenario(dtc=0.5, gtc=0.5, alpha_st=0.0, e_max=3600.0)


def recording(scores: list, *events: tuple[int, float, float], cell: float = 1.0) -> ScoredRecording:
    """Even cells; a flat list is the scores of one label."""
    table = np.array(scores, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    return ScoredRecording(np.arange(len(table) + 1) * cell, table, tuple(TrueEvent(*event) for event in events))


# event-based F1


def test_events_match_within_the_collar() -> None:
    true = [TrueEvent(0, 1.0, 1.5), TrueEvent(0, 4.0, 8.0), TrueEvent(1, 1.0, 2.0)]
    found = [TrueEvent(0, 1.2, 1.7), TrueEvent(0, 4.0, 8.8), TrueEvent(2, 1.0, 2.0)]
    # the offset of a long event may differ by a fifth of its length
    assert event_f1([(true, found)]) == (2 * 2 / 6, 2, 3, 3)
    assert event_f1([(true, [TrueEvent(0, 1.3, 1.5), TrueEvent(0, 4.0, 8.9), TrueEvent(1, 1.0, 2.3)])]).n_correct == 0
    assert event_f1([(true, found)], collar=0.1).n_correct == 1
    assert np.isnan(event_f1([([], [])]).micro)


def test_a_long_recording_with_a_regular_call_has_its_pairs() -> None:
    true = [TrueEvent(0, 0.3 * i, 0.3 * i + 0.1) for i in range(1500)]
    found = [TrueEvent(0, event.onset + 0.15, event.offset + 0.15) for event in true]
    assert event_f1([(true, found)]).n_correct == 1500
    # each event must pass its detection on to the next one
    assert event_f1([(true[::-1], [*found[:-1], TrueEvent(0, -0.15, -0.05)])]).n_correct == 1500


@given(st.data())
def test_as_many_events_are_paired_as_possible(data: st.DataObject) -> None:
    times = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3)), max_size=4)
    true, found = (
        [TrueEvent(0, onset / 10, (onset + length) / 10) for onset, length in data.draw(times)] for _ in range(2)
    )
    fits = [[abs(a.onset - b.onset) < 0.21 and abs(a.offset - b.offset) < 0.21 for b in found] for a in true]
    orders = itertools.permutations([*range(len(found)), *[None] * len(true)], len(true))
    best = max(sum(j is not None and row[j] for row, j in zip(fits, order, strict=True)) for order in orders)
    assert event_f1([(true, found)]).n_correct == best


# against sed_scores_eval


@pytest.mark.parametrize("scenario", GOLDEN["scenarios"])
@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_psds_equals_sed_scores_eval(case: str, scenario: str) -> None:
    expected = GOLDEN["cases"][case]["figures"]["psds"][scenario]
    score = psds(golden_recordings(case), Scenario(**GOLDEN["scenarios"][scenario]))
    assert score == pytest.approx(expected, abs=1e-9)


def test_the_golden_scenarios_are_the_presets() -> None:
    assert Scenario(**GOLDEN["scenarios"]["psds1"]) == PSDS1
    assert Scenario(**GOLDEN["scenarios"]["psds2"]) == PSDS2


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_segment_f1_equals_sed_scores_eval(case: str) -> None:
    recordings, expected = golden_recordings(case), GOLDEN["cases"][case]["figures"]
    f1 = segment_f1(recordings, np.array(expected["thresholds"]))
    assert (f1.micro, f1.macro) == pytest.approx((expected["f1"]["micro"], expected["f1"]["macro"]))
    np.testing.assert_allclose(f1.labels, expected["f1"]["labels"], atol=1e-12)


# PSDS by its definition, threshold by threshold


def counts(recordings: list[ScoredRecording], label: int, threshold: float, scenario: Scenario) -> tuple[float, float]:
    """Found events, and cost of the false alarms of one label at one threshold."""
    n_labels = recordings[0].scores.shape[1]
    sounding = np.zeros(n_labels)
    for event in (event for each in recordings for event in each.events):
        sounding[event.label] += event.offset - event.onset
    seconds = sum(each.borders[-1] for each in recordings)
    n_found, cost = 0.0, 0.0
    for each in recordings:
        active = [False, *(each.scores[:, label] >= threshold), False]
        edges = [i for i in range(len(active) - 1) if active[i] != active[i + 1]]
        detections = [(each.borders[a], each.borders[b]) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        covered = dict.fromkeys((event for event in each.events if event.label == label), 0.0)
        for onset, offset in detections:
            common = {e: max(min(offset, e.offset) - max(onset, e.onset), 0.0) for e in each.events}
            least = scenario.dtc * (offset - onset) - 1e-7
            if sum(value for event, value in common.items() if event.label == label) >= least:
                for event in covered:
                    covered[event] += common[event]
                continue
            cost += 1 / seconds
            for other in {event.label for event in each.events} - {label}:
                inside = sum(value for event, value in common.items() if event.label == other)
                if inside >= scenario.cttc * (offset - onset) - 1e-7:
                    cost += scenario.alpha_ct / sounding[other] / max(np.count_nonzero(sounding) - 1, 1)
        n_found += sum(value >= scenario.gtc * (e.offset - e.onset) - 1e-7 for e, value in covered.items())
    return n_found, cost


def reference_psds(recordings: list[ScoredRecording], scenario: Scenario) -> float:
    labels = sorted({event.label for each in recordings for event in each.events})
    points = {}
    for label in labels:
        n_events = sum(event.label == label for each in recordings for event in each.events)
        thresholds = {float(score) for each in recordings for score in each.scores[:, label]} | {np.inf}
        found = [counts(recordings, label, threshold, scenario) for threshold in thresholds]
        points[label] = [(cost * 3600, n / n_events) for n, cost in found]
    rates = sorted({rate for curve in points.values() for rate, _ in curve if rate <= scenario.e_max})
    area = 0.0
    for rate, following in zip(rates, [*rates[1:], scenario.e_max], strict=True):
        shares = [max(share for cost, share in curve if cost <= rate + 1e-9) for curve in points.values()]
        area += max(np.mean(shares) - scenario.alpha_st * np.std(shares), 0) * (following - rate)
    return area / scenario.e_max


def random_recordings(seed: int, n_labels: int, n_levels: int) -> list[ScoredRecording]:
    """A few short recordings with many ties and times on a grid, so that criteria are often met exactly."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(rng.integers(1, 5)):
        n_cells = int(rng.integers(1, 9))
        borders = np.concatenate([[0], np.cumsum(rng.integers(1, 9, n_cells) / 10)])
        events = [TrueEvent(0, 0.0, 0.3)] if number == 0 else []
        for _ in range(rng.integers(0, 5)):
            onset = int(rng.integers(0, 10 * borders[-1]))
            events.append(TrueEvent(int(rng.integers(n_labels)), onset / 10, (onset + int(rng.integers(1, 15))) / 10))
        scores = rng.integers(0, n_levels, (n_cells, n_labels)) / n_levels
        made.append(ScoredRecording(borders, scores, tuple(events)))
    return made


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    n_labels=st.integers(1, 3),
    n_levels=st.sampled_from([2, 4, 100]),
    values=st.sampled_from([(0.7, 0.7, 0.3, 0.0, 1.0), (0.1, 0.1, 0.3, 0.5, 1.0), (1.0, 1.0, 1.0, 2.0, 0.0)]),
)
def test_psds_equals_its_definition(seed: int, n_labels: int, n_levels: int, values: tuple[float, ...]) -> None:
    recordings, scenario = random_recordings(seed, n_labels, n_levels), Scenario(*values, e_max=2000.0)
    assert psds(recordings, scenario) == pytest.approx(reference_psds(recordings, scenario), abs=1e-9)


# properties of the PSDS


def test_perfect_scores_give_1_and_constant_scores_0() -> None:
    truth = [(0, 1.0, 3.0), (1, 4.0, 5.0)]
    perfect = [recording([[0, 0], [0.9, 0], [0.8, 0], [0, 0.1], [0, 0.9]], *truth), recording([[0, 0], [0.1, 0]])]
    constant = [recording([[0.5, 0.5]] * 5, *truth)]
    for scenario in (PSDS1, PSDS2):
        assert psds(perfect, scenario) == 1.0
    assert psds(constant, PSDS1) == 0.0


def test_only_the_order_of_the_scores_counts() -> None:
    recordings = golden_recordings("fair")
    stretched = [ScoredRecording(each.borders, np.exp(5 * each.scores) - 3, each.events) for each in recordings]
    assert psds(stretched, EASY) == pytest.approx(psds(recordings, EASY), rel=1e-12) != 0


def test_a_label_without_events_changes_nothing() -> None:
    recordings = golden_recordings("good")
    more = [
        ScoredRecording(each.borders, np.column_stack([each.scores, each.scores[:, 0]]), each.events)
        for each in recordings
    ]
    assert psds(more, PSDS2) == psds(recordings, PSDS2)


def test_an_event_counts_as_found_before_its_detections_merge() -> None:
    # the two cells around the quiet one are found first; all three together are too long for dtc 0.7
    found_first = recording([0.0, 0.9, 0.1, 0.9, 0.0], (0, 1.0, 2.0), (0, 3.0, 4.0))
    assert psds([found_first], Scenario(dtc=0.7, gtc=0.7)) == 1.0
    # the other way round, a false alarm precedes: its rate is above e_max, nothing counts
    later = recording([0.95, 0.0, 0.9, 0.0], (0, 2.0, 3.0))
    assert psds([later], Scenario(dtc=0.7, gtc=0.7, e_max=899.0)) == 0.0
    assert psds([later], Scenario(dtc=0.7, gtc=0.7, e_max=1800.0)) == pytest.approx(0.5)


def test_cross_triggers_lower_the_psds() -> None:
    # label 1 is first detected in the event of label 0, then in its own as well; label 0 is perfect
    confused = [recording([[0.9, 0.8], [0.0, 0.0], [0.0, 0.7]], (0, 0.0, 1.0), (1, 2.0, 3.0))]
    false_alarms, cross_triggers = 3600 / 3, 3600 / 1  # per hour; of cross triggers, per hour of label 0's events
    for cost in (0.0, 0.5):
        scenario = Scenario(dtc=0.7, gtc=0.7, alpha_ct=cost, alpha_st=0.0, e_max=1e4)
        rate = (false_alarms + cost * cross_triggers) / 1e4
        assert psds(confused, scenario) == pytest.approx(0.5 * rate + 1 - rate)
    # no cross trigger if cttc exceeds the share in the event of label 0
    half = [recording([[0.9, 0.8], [0.0, 0.0], [0.0, 0.7]], (0, 0.0, 0.5), (1, 2.0, 3.0))]
    strict, mild = (Scenario(0.5, 0.5, cttc, alpha_ct=0.5, alpha_st=0.0, e_max=1e4) for cttc in (0.51, 0.5))
    assert psds(half, strict) > psds(half, mild)


def test_differences_between_labels_lower_the_psds() -> None:
    # label 0 is always found, label 1 never
    uneven = [recording([[0.9, 0.8], [0.0, 0.0], [0.0, 0.0]], (0, 0.0, 1.0), (1, 2.0, 3.0))]
    for cost, expected in ((0.0, 0.5), (0.5, 0.25), (1.0, 0.0), (2.0, 0.0)):
        scenario = Scenario(dtc=0.7, gtc=0.7, alpha_st=cost)
        assert psds(uneven, scenario) == pytest.approx(expected)


def test_touching_events_of_a_label_are_joined() -> None:
    joined = recording([0.0] * 4, (0, 1.0, 2.0), (0, 2.0, 2.5), (0, 0.5, 1.5), (0, 3.0, 3.5))
    assert joined.events == (TrueEvent(0, 0.5, 2.5), TrueEvent(0, 3.0, 3.5))
    apart = recording([[0.0, 0.0]] * 4, (0, 1.0, 2.0), (1, 2.0, 3.0))
    assert len(apart.events) == 2


def test_a_criterion_met_exactly_counts() -> None:
    # 0.7 of the detection, whose floats fall short of it: 0.1 * 7 / (0.1 * 10)
    exact = recording([0.0, 0.9, 0.0], (0, 1.1, 1.8))
    assert psds([exact], Scenario(dtc=0.7, gtc=1.0)) == 1.0
    assert psds([exact], Scenario(dtc=0.71, gtc=1.0)) == 0.0


# segment-based F1


def test_segments_take_the_highest_cell_and_any_part_of_an_event() -> None:
    # cells of 0.4 s in 2.2 s: segments 0-1, 1-2, 2-2.2; the event of the last touches the second only
    scores = ScoredRecording(
        np.array([0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.2]), np.array([[0.1, 0.2, 0.9, 0.1, 0.1, 0.6]]).T, (TrueEvent(0, 1, 2),)
    )
    assert segment_f1([scores], np.array([0.5])) == (pytest.approx(0.5), pytest.approx(0.5), pytest.approx([0.5]))
    assert segment_f1([scores], np.array([0.9])).micro == pytest.approx(2 / 3)
    assert segment_f1([scores], np.array([0.91])).micro == 0.0
    assert segment_f1([scores], np.array([0.05]), seconds=2.2).micro == 1.0


def test_labels_without_events_count_only_for_micro_f1() -> None:
    two = [recording([[0.9, 0.9], [0.0, 0.0]], (0, 0.0, 1.0))]
    f1 = segment_f1(two, np.array([0.5, 0.5]))
    assert f1.macro == 1.0
    assert f1.micro == pytest.approx(2 / 3)
    np.testing.assert_array_equal(f1.labels, [1.0, np.nan])
    silent = segment_f1([recording([0.1])], np.array([0.5]))
    assert np.isnan([silent.micro, silent.macro, *silent.labels]).all()


# bad input


def test_invalid_recordings_are_refused() -> None:
    scores, borders = np.zeros((2, 1)), np.array([0.0, 1.0, 2.0])
    with pytest.raises(DataError, match="expected 3 borders for 2 cells of scores, got 2"):
        ScoredRecording(borders[:2], scores, ())
    for wrong in ([0.0, 1.0, 1.0], [0.5, 1.0, 2.0], [0.0, np.nan, 2.0]):
        with pytest.raises(DataError, match="borders that rise from 0 seconds"):
            ScoredRecording(np.array(wrong), scores, ())
    with pytest.raises(DataError, match="not finite"):
        ScoredRecording(borders, np.array([[0.0], [np.nan]]), ())
    for event in (TrueEvent(0, 1.0, 1.0), TrueEvent(1, 0.0, 1.0), TrueEvent(0, -1.0, 1.0), TrueEvent(0, 0.0, np.inf)):
        with pytest.raises(DataError, match="an onset before the offset and one of 1 labels"):
            ScoredRecording(borders, scores, (event,))


def test_metrics_refuse_invalid_input() -> None:
    one, two = recording([0.1]), recording([[0.1, 0.2]])
    with pytest.raises(DataError, match="PSDS needs events"):
        psds([one], PSDS1)
    for recordings in ([], [one, two]):
        with pytest.raises(DataError, match="of the same labels"):
            psds(recordings, PSDS1)
        with pytest.raises(DataError, match="of the same labels"):
            segment_f1(recordings, np.array([0.5]))
    with pytest.raises(DataError, match="one threshold for each of the 2 labels, got 1"):
        segment_f1([two], np.array([0.5]))
    with pytest.raises(ConfigError, match="seconds: a positive length"):
        segment_f1([one], np.array([0.5]), seconds=0.0)
    wrong = (("dtc", 0.0), ("gtc", 1.1), ("cttc", np.nan), ("alpha_ct", -1.0), ("e_max", 0.0), ("e_max", np.inf))
    for name, value in wrong:
        with pytest.raises(ConfigError, match=f"{name}: .*, not {value}"):
            Scenario(**{"dtc": 0.5, "gtc": 0.5, name: value})


def test_localisation_does_not_import_pytorch() -> None:
    code = "import sys, earmark.evaluation.localisation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
