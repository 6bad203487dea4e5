"""The network of earmark-esc50 with a teacher: the page and wrong usage."""

from pathlib import Path

import pytest

from earmark.errors import ConfigError
from experiments import esc50_student
from experiments.__main__ import main
from experiments.degraded import DEGRADATIONS
from experiments.esc50_head import AS_TRAINED, THRESHOLDS, WITH_NOTHING
from experiments.esc50_student import NAMES, _Steps, page
from experiments.free_audio import Recording


def row(variant: str, top1: float) -> dict[str, object]:
    false_tags = {"speech": {"n": 3, "tags": 1.5}, "music": {"n": 4, "tags": 0.25}}
    values = {"mAP": 0.6, "precision": 0.7, "recall": 0.8, "sparse5": 0.3, "dense5": 0.4, "false_tags": false_tags}
    events = {"F1": 0.2, "event_F1": 0.1, "onset": 0.3, "offset": 0.4, "n_detected": 50, "n_events": 60}
    values["events"] = {**events, "is_trimmed": True}
    found = {"variant": variant, "top1": top1, **values}
    if variant != THRESHOLDS:
        found["degraded"] = {name: {"top1": top1 / 2} for name in DEGRADATIONS}
    return found


def one_run(seed: int, top1: float) -> dict[str, object]:
    networks = {}
    for place, name in enumerate(NAMES):
        other = THRESHOLDS if name == "teacher" else WITH_NOTHING
        own = [row(AS_TRAINED, top1 + place / 100), row(other, 0.6)]
        networks[name] = {"rows": own, "commit": "0123456789", "clips seen by the model": 1000 + place}
    run = {"seed": seed, "teacher": "mn04.pt", "n_others": 1769, "sources": ["a (CC0)", "b (CC BY 3.0)"]}
    return {**run, "networks": networks}


def test_the_page_shows_each_network_with_and_without_a_head_that_was_trained_further() -> None:
    text = page([one_run(0, 0.5)])
    shown = "0.510 | 0.600 | 0.700 | 0.800 | 0.300 | 0.400 | 1.500 | 0.250"
    assert f"| trained further with a teacher | {AS_TRAINED} | {shown} |" in text
    assert f"| the teacher | {THRESHOLDS} | 0.200 | 0.100 | 0.300 | 0.400 | 50 | 60 |" in text
    assert (
        "| telephone | 0.250 | 0.300 | 0.255 | 0.300 | 0.260 | 0.300 | 0.265 | 0.300 | 0.270 |" in text
        and "All figures are of one seed." in text
    )
    assert "1,769 freely licensed recordings" in text and "came from a (CC0), b (CC BY 3.0).\n" in text
    assert text.endswith("the start, trained further 0123456789; seed 0, the teacher 0123456789.\n")


def test_events_from_before_the_trimming_are_marked_unless_a_seed_has_newer_ones() -> None:
    runs = [one_run(0, 0.5), one_run(1, 0.5)]
    assert " *" not in page(runs)
    for row in runs[0]["networks"]["before"]["rows"]:
        row["events"] |= {"F1": 0.9, "is_trimmed": False}
    text = page(runs)
    assert f"| recipe esc50 | {AS_TRAINED} | 0.200 | 0.100 |" in text and "before [events became" not in text
    for row in runs[1]["networks"]["before"]["rows"]:
        del row["events"]["is_trimmed"]
    text = page(runs)
    assert f"| recipe esc50 * | {AS_TRAINED} | 0.550 (0.200 to 0.900) |" in text and "before [events became" in text


def test_the_page_shows_the_spread_of_several_seeds() -> None:
    text = page([one_run(0, 0.5), one_run(1, 0.7)])
    shown = "0.610 (0.510 to 0.710) | 0.600 (0.600 to 0.600)"
    assert f"| trained further with a teacher | {AS_TRAINED} | {shown} |" in text
    assert "| telephone | 0.300 (0.250 to 0.350) |" in text
    assert "Figures are means over the seeds 0, 1, with the lowest and the highest in brackets.\n" in text


def test_the_page_says_which_network_has_one_seed() -> None:
    first, second = one_run(0, 0.5), one_run(1, 0.7)
    del second["networks"]["taught"]
    text = page([first, second])
    assert 'in brackets. "with a teacher from the start" was trained with seed 0 alone.\n' in text
    assert f"| with a teacher from the start | {AS_TRAINED} | 0.520 | 0.600 |" in text
    del first["networks"]["taught"]
    assert "from random weights" in text and "from random weights" not in page([first, second])


def test_the_page_says_whose_thresholds_are_not_shrunk() -> None:
    run = one_run(0, 0.5)
    for name, network in run["networks"].items():
        for each in network["rows"] if name != "before" else network["rows"][:1]:
            each["shrinkage"] = 40.0
    sentence = 'In the rows of "recipe esc50" each label has the threshold of its best F1. The other rows have [shrunk'
    assert sentence in page([run]) and sentence in page([one_run(1, 0.4) | {"networks": {**run["networks"]}}, run])
    run["networks"]["before"]["rows"][1]["shrinkage"] = 40.0
    assert "[shrunk thresholds]" not in page([run])


def test_one_argument_alone_is_wrong_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["esc50-student", str(tmp_path)]) == 2
    assert "TEACHER, MODEL and WORK were expected" in capfd.readouterr().err


def test_an_unknown_network_is_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["esc50-student", "--only", "pupil"]) == 2
    assert "one of before, student, taught, longer, teacher, shipped was expected" in capfd.readouterr().err


def test_only_shipped_needs_the_flag_shipped(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["esc50-student", "--only", "shipped"]) == 2
    assert "--only shipped expects --shipped" in capfd.readouterr().err


def test_ship_needs_the_flag_shipped(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["esc50-student", "--ship", "before"]) == 2
    assert "--ship expects --shipped" in capfd.readouterr().err


def test_figures_of_another_seed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "before-figures.json").write_text('{"seed": 0, "rows": []}')
    assert _Steps(tmp_path, [], tmp_path, tmp_path, tmp_path).figures("before") == {"rows": []}
    with pytest.raises(ConfigError, match="figures of seed 1 were expected, not of 0"):
        _Steps(tmp_path, [], tmp_path, tmp_path, tmp_path, seed=1).figures("before")


def test_each_network_is_trained_on_its_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(esc50_student, "earmark", lambda *words, folder: commands.append([*map(str, words)]))
    monkeypatch.setattr(esc50_student, "mix", lambda bank, work, name, folds, *words: tmp_path / f"{name} {folds}")
    rows = [(tmp_path / "s.wav", "dog", "train", "mixed 1")]
    monkeypatch.setattr(esc50_student, "soundscape_rows", lambda folder: rows)
    monkeypatch.setattr(_Steps, "_labelled", lambda self, folds: [])
    steps = _Steps(tmp_path, [], tmp_path / "mn04.pt", tmp_path / "model", tmp_path, tmp_path / "shipped600")
    found = {}
    for name in ("student", "taught", "shipped"):
        steps.network(name)
        words = next(own for own in commands if own[0] == "distill")
        commands.clear()
        table = tmp_path / words[2].removeprefix("csv:")
        before = Path(words[words.index("--init") + 1]).name if "--init" in words else None
        found[name] = (before, words[words.index("--n-clips-seen") + 1], "mixed 1" in table.read_text())
    assert found == {
        "student": ("model", "120000", False),
        "taught": (None, "320000", True),
        "shipped": ("shipped600", "240000", True),
    }


def test_share_alike_recordings_are_measured_on_but_not_learned_from(tmp_path: Path) -> None:
    rows = [("other", "train"), ("music", "train"), ("music", "test")]
    recordings = [
        Recording(tmp_path / "a.wav", "s", licence, "x", "g", split, kind)
        for licence in ("CC0", "CC BY-SA 3.0")
        for kind, split in rows
    ]
    steps = _Steps(tmp_path, recordings, tmp_path, tmp_path, tmp_path)
    assert [(row.kind, row.licence) for row in (*steps._others(), *steps._nothing())] == [
        ("other", "CC0"),
        ("music", "CC0"),
    ]
    assert sum(row.split == "test" for row in steps.recordings) == 2
