"""The commands table1, localisation, figure3 and table2."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import experiments.figure3
import experiments.localisation
import experiments.table1.estimate
import experiments.table1.runs
from earmark.audio.recording import Audio, save_audio
from earmark.data.synthetic import synthetic_bank
from experiments.__main__ import COMMANDS, main
from experiments.localisation import Localised
from experiments.table1.lines import Line
from experiments.table1.plan import Run

Capture = pytest.CaptureFixture[str]
Make = Callable[..., list[str]]
TINY = "--labels all --difficulty sparse --n-seeds 1 --n-train 8 --n-valid 4 --n-test 8 --n-clips-seen 16"


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four made-up sounds in folds 1 and 5."""
    folder = tmp_path_factory.mktemp("bank")
    rows = ["path,labels,split"]
    for number, clip in enumerate(synthetic_bank(n_per_label=4).select(labels=("bell", "buzz", "hiss", "siren"))):
        save_audio(folder / f"{clip.id}.wav", Audio(clip.load(16000).waveform, 16000))
        rows.append(f"{clip.id}.wav,{clip.labels[0]},{'5' if number % 4 == 3 else '1'}")
    (folder / "bank.csv").write_text("\n".join(rows))
    return f"csv:{folder / 'bank.csv'}"


@pytest.fixture
def table1(bank: str, tmp_path: Path) -> Make:
    """The words of a tiny table1 in a folder `out`."""

    def words(*more: str) -> list[str]:
        out = str(tmp_path / "out")
        return ["table1", "--bank", bank, "--out", out, "--train-splits", "1", *TINY.split(), *more]

    return words


def test_a_table_and_what_follows_from_it(table1: Make, tmp_path: Path, capfd: Capture) -> None:
    out = tmp_path / "out"
    pages = [out / "table1.md", out / "ablations.md"]
    assert main(table1("--cells", "max")) == 0
    captured = capfd.readouterr()
    assert captured.out.splitlines() == [str(page) for page in pages]
    assert captured.err.startswith("sparse max seed 0: mAP ")
    assert len(captured.err.splitlines()) == 1
    page = pages[0].read_text()
    changed = "--labels all --n-train 8 --n-valid 4 --n-test 8 --n-clips-seen 16 --train-splits 1"
    assert f"{changed} --difficulty sparse --n-seeds 1`" in page
    assert str(tmp_path) not in page and str(tmp_path) not in (out / "runs.jsonl").read_text()

    assert main(table1("--cells", "max", "--json", "--quiet")) == 0
    captured = capfd.readouterr()
    printed = json.loads(captured.out)
    assert printed == {"n_runs": 1, "n_done": 1, "failed": [], "tables": [str(page) for page in pages]}
    assert captured.err == ""

    pages[0].unlink()
    assert main(["table1", "--out", str(out), "--tables-only"]) == 0
    assert capfd.readouterr().out.splitlines() == [str(page) for page in pages]
    assert pages[0].read_text() == page
    assert main(["table1", "--out", str(out), "--tables-only", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"tables": [str(page) for page in pages]}

    assert main([*table1("--cells", "max"), "--n-heads", "3"]) == 2
    other = [word if word != "8" else "9" for word in table1()]
    assert main(other) == 1
    assert "holds another table, these differ: profile.n_train 8 -> 9, profile.n_test 8 -> 9;" in capfd.readouterr().err


def test_a_dry_run_prints_the_plan_and_does_nothing(
    table1: Make, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiments.table1.estimate, "probe_rate", lambda *_: 0.01)
    assert main(table1("--dry-run")) == 0
    printed = capfd.readouterr().out
    assert "all labels of csv:bank.csv, width 16" in printed
    assert "runs: 12, 0 done, 12 left" in printed
    assert "soundscapes to mix: 8 sparse train, 4 sparse valid, 8 sparse test" in printed
    assert "time: about 6 h 40 min" in printed and "4 steps of GMAP at width 16 on noise" in printed
    assert main(table1("--dry-run", "--json", "--no-ablations")) == 0
    printed = json.loads(capfd.readouterr().out)
    assert (
        printed["n_runs"] == 6
        and printed["seconds"] == pytest.approx(12000)
        and printed["plan"]["profile"]["n_train"] == 8
    )
    assert not (tmp_path / "out").exists()


def test_a_failed_run_is_one_line_and_the_status_1(
    table1: Make, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = experiments.table1.runs.perform

    def perform(out: Path, plan: Any, run: Run, **options: Any) -> Line:
        if run.cell == "max":
            raise RuntimeError("no paper")
        return real(out, plan, run, **options)

    monkeypatch.setattr(experiments.table1.runs, "perform", perform)
    assert main(table1("--cells", "max,mean", "--json", "--quiet")) == 1
    captured = capfd.readouterr()
    assert captured.err == "error: sparse max seed 0: RuntimeError: no paper\n"
    printed = json.loads(captured.out)
    failed = {"difficulty": "sparse", "cell": "max", "seed": 0, "error": "RuntimeError: no paper"}
    assert (printed["n_runs"], printed["n_done"], printed["failed"]) == (2, 1, [failed])


def test_localisation_calls_its_function(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def localise(out: Path, progress: Callable[[str, int, int], None]) -> Localised:
        calls.append(out)
        progress("a run", 1, 2)
        return Localised((), (Run("sparse", "max", 0),))

    monkeypatch.setattr(experiments.localisation, "localise", localise)
    monkeypatch.setattr(experiments.localisation, "write_table", lambda out: out / "localisation.md")
    assert main(["localisation", "--out", str(tmp_path)]) == 0
    captured = capfd.readouterr()
    assert captured.out == f"{tmp_path / 'localisation.md'}\n"
    assert captured.err == "sparse max seed 0: skipped, its checkpoint is missing\n"
    assert main(["localisation", "--out", str(tmp_path), "--json", "-q"]) == 0
    missing = [{"difficulty": "sparse", "cell": "max", "seed": 0}]
    assert json.loads(capfd.readouterr().out) == {"table": str(tmp_path / "localisation.md"), "missing": missing}
    assert main(["localisation", "--out", str(tmp_path), "--tables-only"]) == 0
    assert calls == [tmp_path] * 2


def test_figure3_calls_its_function(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def draw(out: Path, *rest: Any) -> Path:
        calls.append((out, *rest))
        return out / "figure3.png"

    monkeypatch.setattr(experiments.figure3, "draw", draw)
    words = ["figure3", "--out", str(tmp_path)]
    assert main(words) == 0
    assert capfd.readouterr().out == f"{tmp_path / 'figure3.png'}\n"
    assert main([*words, "--difficulty", "dense", "--clip", "x", "--seed", "2", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == {"figure": str(tmp_path / "figure3.png")}
    assert calls == [(tmp_path, "sparse", None, 0), (tmp_path, "dense", "x", 2)]


def test_table2_prints_or_writes(tmp_path: Path, capfd: Capture) -> None:
    assert main(["table2"]) == 0
    printed = capfd.readouterr().out
    assert printed.startswith("# Table 2")
    assert main(["table2", "--out", str(tmp_path / "table2.md")]) == 0
    assert (tmp_path / "table2.md").read_text() == printed
    report = tmp_path / "report.json"
    report.write_text("{}")
    assert main(["table2", "--report", str(report), "--out", str(report)]) == 2
    assert "which would be lost" in capfd.readouterr().err and report.read_text() == "{}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("tabel1", 'Unknown command "tabel1". Did you mean "table1"?'),
        ("table1", "--bank is missing and there is no folder ESC-50 here; give --bank esc50:DIR"),
        ("table1 --out y --bank folder:x --jobs 0", "Must be >= 1"),
        ("table1 --out y --bank folder:x --profile smal", '"small"'),
        ("table1 --out y --bank folder:x --difficulty spares", "some of sparse, dense were expected, not spares"),
        ("table1 --out y --bank folder:x --cells gmap,gmpa", "were expected, not gmpa"),
        ("table1 --out y --bank folder:x --train-splits ,", "--train-splits: names joined by commas"),
        ("figure3 --out y --difficulty spares", "one of sparse, dense was expected, not 'spares'"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    words: str, message: str, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words.split()) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and message in captured.err
    assert len(captured.err.splitlines()) == 1
    named = " ".join(["python -m experiments", *(word for word in words.split()[:1] if word in COMMANDS)])
    assert f"(`{named} --help` explains)" in captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("table1 --out {t}/y --bank folder:{t}/gone", "gone"),
        ("table1 --out {t}/y --bank {bank}", "profile small takes 10 labels, 10 of which the bank lacks"),
        ("table1 --out {t}/y --bank {bank} --labels all", "no split 2, 3; the splits are 1, 5"),
        ("table1 --out {t} --bank {bank} --labels all --train-splits 1", "this holds other files"),
        ("table1 --out {t}/y --tables-only", "no finished run there"),
        ("table1 --out {t}/y --bank {bank} --labels bell,bel --train-splits 1", "1 of which the bank lacks: bel"),
        ("localisation --out {t}/y", "finished runs were expected"),
        ("figure3 --out {t}/y", "the finished run sparse gmap seed 0 was expected"),
        ("table2 --report {t}/gone.json", "gone.json"),
    ],
)
def test_an_error_is_one_line_and_status_1(words: str, message: str, bank: str, tmp_path: Path, capfd: Capture) -> None:
    (tmp_path / "holiday.jpg").touch()
    assert main([word.format(t=tmp_path, bank=bank) for word in words.split()]) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
