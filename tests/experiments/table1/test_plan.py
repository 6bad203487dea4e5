"""Plans: the order of runs, the settings that may change between calls, and the command of a table."""

import json
from dataclasses import replace

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.errors import ConfigError, DataError
from experiments.table1.plan import Run, TablePlan, make_plan, read_plan
from experiments.table1.profiles import ABLATIONS, POOLING_CELLS, PROFILES


def test_runs_fill_the_table_seed_by_seed_and_ablate_on_sparse_alone(planned):
    plan, _ = planned(("dense", "sparse"), n_seeds=2)
    runs = plan.runs()
    assert len(set(runs)) == len(runs) == 2 * (2 * len(POOLING_CELLS) + len(ABLATIONS))
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    first = runs[: len(runs) // 2]
    assert [run.difficulty for run in first] == ["sparse"] * 6 + ["dense"] * 6 + ["sparse"] * 6
    assert [run.cell for run in first] == [*POOLING_CELLS, *POOLING_CELLS, *ABLATIONS]
    assert plan.runs(ablations=False) == tuple(run for run in runs if run.cell not in ABLATIONS)
    assert plan.runs(["gmap-no-gate", "max"], ablations=False)[:3] == (
        Run("sparse", "max", 0),
        Run("dense", "max", 0),
        Run("sparse", "gmap-no-gate", 0),
    )


def test_impossible_runs_are_refused(planned):
    plan, _ = planned(("dense",))
    with pytest.raises(ConfigError, match="no cell gmpa; the cells are max, mean, "):
        plan.runs(["gmpa"])
    with pytest.raises(ConfigError, match="ablations are sparse only"):
        plan.runs(["gmap-no-gate"])


def test_the_config_of_a_run_is_its_cells(planned):
    plan, _ = planned()
    config = plan.config(Run("sparse", "gmap-heads-8", 3))
    assert (config.n_heads, config.seed, config.width) == (8, 3, 2)


def test_a_plan_takes_a_folder_and_agrees_with_itself(planned, out):
    plan, _ = planned()
    plan.claim(out)
    assert read_plan(out) == plan
    plan.claim(out)
    more, _ = planned(("sparse", "dense"), n_seeds=3)
    more.claim(out)
    assert read_plan(out) == more, "a table can be given more seeds and difficulties"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_train": 13}, "profile.n_train 12 -> 13"),
        ({"training": {"n_clips_seen": 32}}, "profile.training.n_clips_seen 16 -> 32"),
        ({"labels": ("bell", "buzz", "hiss", "siren")}, "bank_fingerprint"),
        ({"n_seeds": 1}, "has 2 seeds of sparse; a call may ask for more of them, not for fewer"),
        ({"difficulties": ("dense",), "n_seeds": 2}, "has 2 seeds of sparse"),
    ],
)
def test_another_plan_is_refused(planned, out, changes, message):
    planned(n_seeds=2)[0].claim(out)
    other, _ = planned(**{"n_seeds": 2, **changes})
    before = (out / "plan.json").read_bytes()
    with pytest.raises(ConfigError, match=message):
        other.claim(out)
    assert (out / "plan.json").read_bytes() == before


def test_a_folder_of_other_files_is_refused(planned, out):
    plan, _ = planned()
    out.mkdir()
    (out / ".lock").touch()
    plan.check(out)
    (out / "holiday.jpg").touch()
    with pytest.raises(ConfigError, match="this holds other files"):
        plan.check(out)
    with pytest.raises(ConfigError, match=r"no table there \(plan.json is missing\)"):
        read_plan(out)


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"format": 2}', '{"format": 1, "n_seeds": 1}', '{"format": 1, "profile": {"labels": 3}}']
)
def test_a_damaged_plan_is_reported(out, text):
    out.mkdir()
    (out / "plan.json").write_text(text)
    with pytest.raises(ConfigError, match=r"plan\.json: the plan of a table was expected"):
        read_plan(out)


def test_a_plan_of_a_later_format_is_reported(planned, out):
    plan, _ = planned()
    plan.claim(out)
    values = json.loads((out / "plan.json").read_text())
    (out / "plan.json").write_text(json.dumps({**values, "format": 2}))
    with pytest.raises(ConfigError, match="not a plan of format 1"):
        read_plan(out)


def test_the_command_names_changed_settings_and_no_paths(bank, planned):
    plan, _ = planned()
    assert (
        plan.command
        == "python -m experiments table1 --bank csv:DIR --out OUT --profile tiny --difficulty sparse --n-seeds 1"
    )
    assert planned(("dense", "sparse"), n_seeds=3)[0].command.endswith("--profile tiny")
    small = replace(PROFILES["small"], labels=("bell", "hiss", "siren", "a b"), n_test=9)
    other = replace(plan, profile=small, train_splits=("1",))
    assert other.command.endswith(
        "--profile small --labels 'bell,hiss,siren,a b' --n-test 9 --train-splits 1 --difficulty sparse --n-seeds 1"
    )
    other = replace(other, profile=replace(small, labels=None, training=replace(small.training, n_clips_seen=5)))
    assert "--labels all" in other.command and "--n-clips-seen 5" in other.command
    assert bank.rpartition("/")[0].partition(":")[2] not in json.dumps(plan.to_json())


def test_an_unsuitable_bank_is_refused(bank, tiny):
    with pytest.raises(
        DataError, match="profile small takes 10 labels, 10 of which the bank lacks: dog, rooster, rain"
    ):
        make_plan(bank, PROFILES["small"])
    with pytest.raises(DataError, match="no split 4; the splits are 1, 2, 3, 5"):
        make_plan(bank, tiny, test_splits=("4",))
    with pytest.raises(DataError, match="sources are in both"):
        make_plan(bank, tiny, train_splits=("1", "5"))
    with pytest.raises(ConfigError, match="some of sparse, dense were expected"):
        make_plan(bank, tiny, difficulties=("spares",))
    with pytest.raises(ConfigError, match="some of sparse, dense were expected, not none"):
        make_plan(bank, tiny, difficulties=())
    with pytest.raises(ConfigError, match="n_seeds: 1 or more"):
        make_plan(bank, tiny, n_seeds=0)


@pytest.mark.parametrize(("rate", "expected"), [(16000, 16000), (44100, 32000)])
def test_the_sample_rate_follows_the_bank(tmp_path, tiny, rate, expected):
    noise = np.random.default_rng(0).standard_normal(rate).astype(np.float32) / 10
    rows = ["path,labels,split"]
    for split in "15":
        save_audio(tmp_path / f"{split}.wav", Audio(noise, rate))
        rows.append(f"{split}.wav,dog,{split}")
    (tmp_path / "bank.csv").write_text("\n".join(rows))
    wide = replace(tiny, training=replace(tiny.training, sample_rate=32000))
    plan, _ = make_plan(f"csv:{tmp_path / 'bank.csv'}", wide, train_splits=("1",))
    assert plan.profile.training.sample_rate == expected


def test_a_bank_that_moved_is_the_same_bank(planned, out):
    plan, _ = planned()
    plan.claim(out)
    replace(plan, bank="csv:elsewhere.csv").claim(out)
    assert isinstance(read_plan(out), TablePlan)
