"""The literature table: consistent figures, and the reports that it accepts."""

import json
from math import sqrt
from statistics import NormalDist

import pytest

from earmark.errors import DataError
from earmark.labels import LabelSet
from earmark.model.network import Network
from earmark.training.recipes import recipe
from experiments.table2 import FURTHER, LITERATURE, table2

HASH = "0123456789abcdef" * 4


def d_prime(auc):
    return sqrt(2) * NormalDist().inv_cdf(auc)


@pytest.fixture
def report(tmp_path):
    """Writes a report.json of AudioSet, with some entries changed, and returns its path."""

    def write(**changes):
        names = changes.pop("names", LabelSet.audioset().names)
        content = {
            "model": "run/last.safetensors",
            "data": "audioset:eval",
            "n_clips": 18_600,
            "n_labels": len(names),
            "n_labels_with_positives": len(names),
            "clip_ids_sha256": HASH,
            "mAP": 0.4168,
            "mAP_interval": [0.4102, 0.4233],
            "mAUC": 0.9712,
            "d_prime": d_prime(0.9712),
            "labels": [{"label": name, "n_positive": 5, "average_precision": 0.4, "auc": 0.9} for name in names],
        } | changes
        path = tmp_path / "report.json"
        path.write_text(json.dumps(content))
        return path

    return write


def rows(markdown):
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.replace("\\|", "!").strip("|").split("|")] for line in table]


def test_the_table_has_the_papers_rows_first_and_all_columns():
    header, _, *body = rows(table2())
    assert header == ["model", "year", "mAP", "mAUC", "d'", "parameters", "measured on", "reference"]
    assert all(len(row) == len(header) for row in body)
    assert [row[2:5] for row in body[: len(LITERATURE)]] == [
        ["0.314", "0.959", "2.452"],
        ["0.360", "0.970", "2.660"],
        ["0.369", "0.969", "2.640"],
        ["0.392", "0.971", "2.682"],
        ["0.439", "0.973", "2.720"],
        ["0.417", "0.971", "2.678"],
    ]
    assert len(body) == len(LITERATURE) + len(FURTHER)


@pytest.mark.parametrize("entry", [*LITERATURE, *FURTHER], ids=lambda entry: entry.model)
def test_published_figures_agree_with_themselves(entry):
    assert 0.3 < entry.mAP < 0.5 and 2017 <= entry.year <= 2022 and entry.reference
    assert (entry.mAUC is None) == (entry.d_prime is None)
    if entry.mAUC is not None:
        # an AUC of three digits stands for d' within some hundredths
        assert d_prime(entry.mAUC - 0.0005) - 0.001 <= entry.d_prime <= d_prime(entry.mAUC + 0.0005) + 0.001


def test_gmaps_parameters_are_those_of_the_network():
    (gmap,) = (entry for entry in LITERATURE if entry.model.startswith("GMAP"))
    assert gmap.n_parameters == Network(recipe("paper").network_config(), LabelSet.audioset()).n_parameters


def test_a_report_gets_the_last_row_with_its_coverage_and_interval(report):
    *_, row = rows(table2(report()))
    assert row == [
        "**run/last.safetensors**",
        "",
        "**0.417** (0.410 to 0.423)",
        "0.971",
        "2.685",
        "-",
        "18,600 clips; ids `0123456789ab`",
        "measured with `earmark evaluate`; 95 % interval",
    ]


def test_parameters_and_labels_without_positives_are_shown(report):
    *_, row = rows(table2(report(n_parameters=6_531_535, n_labels_with_positives=520, model="a|b", d_prime=None)))
    assert row[0] == "**a!b**" and row[4] == "-" and row[5] == "6.53 M"
    assert row[6] == "18,600 clips, 520 labels with a positive; ids `0123456789ab`"


def test_labels_may_be_given_by_their_ids(report):
    assert len(rows(table2(report(names=LabelSet.audioset().ids)))) == len(rows(table2())) + 1


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"names": ("dog", "rain")}, "AudioSet's 527 labels were expected, it has 2 labels, 0 of them AudioSet's"),
        ({"names": (*LabelSet.audioset().names[1:], "Klaxon")}, "it has 527 labels, 526 of them AudioSet's"),
        ({"names": (*LabelSet.audioset().names, "Klaxon")}, "it has 528 labels, 527 of them AudioSet's"),
        ({"n_clips": 22_160}, "measured on 22,160 clips, but AudioSet has only 20,371 evaluation clips"),
        ({"mAP_interval": None}, "a report.json of `earmark evaluate` was expected, this is none"),
        ({"labels": ["Speech"]}, "a report.json of `earmark evaluate` was expected, this is none"),
        ({"mAP": "high"}, "a report.json of `earmark evaluate` was expected, this is none"),
    ],
)
def test_other_reports_are_refused_in_one_line(report, changes, text, unchecked):
    with pytest.raises(DataError, match=text) as error:
        table2(report(**changes))
    assert "\n" not in str(error.value) and "report.json" in str(error.value)


def test_a_file_that_is_no_report_is_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read: No such file"):
        table2(tmp_path / "report.json")
    for text in ("[]", "{}", "not JSON", "\xff"):
        (tmp_path / "report.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(DataError, match=r"a report.json of `earmark evaluate` was expected, this is none"):
            table2(tmp_path / "report.json")
