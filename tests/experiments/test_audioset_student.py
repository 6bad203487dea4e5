"""Agreement of a student by kind of sound, and its thresholds."""

from pathlib import Path

import pytest
import torch

from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from experiments.__main__ import main
from experiments.audioset_student import by_kind, kind_of_labels, known_labels, page, without_thresholds

LABELS = LabelSet.audioset()


def agreement(**values: tuple[int, float | None]) -> dict[str, list[dict[str, object]]]:
    rows = []
    for name in LABELS.names:
        n_positive, precision = values.get(name, (0, None))
        row = {"label": name, "n_positive": n_positive, "average_precision": precision}
        rows.append(row | {"mean_absolute_difference": 0.1})
    return {"labels": rows}


def test_labels_have_the_kind_of_their_place_in_the_ontology() -> None:
    kinds = dict(zip(LABELS.names, kind_of_labels(LABELS), strict=True))
    wanted = {"Cough": "human sounds", "Dog": "animals", "Violin, fiddle": "music", "Rain": "nature"}
    assert {name: kinds[name] for name in wanted} == wanted
    assert (kinds["Siren"], kinds["White noise"]) == ("things", "others")


def test_agreement_is_averaged_over_the_labels_that_have_clips() -> None:
    found = by_kind(agreement(Dog=(4, 0.5), Cat=(1, 1.0), Rain=(9, 0.25)), LABELS)
    assert found["animals"] == {"n_labels": 2, "mAP": 0.75, "mean_absolute_difference": pytest.approx(0.1)}
    assert found["nature"]["mAP"] == 0.25 and found["music"]["mAP"] is None


def test_a_label_without_agreement_is_never_a_tag() -> None:
    known = known_labels(agreement(Dog=(4, 0.5), Cat=(2, 1.0), Rain=(9, 0.25)))
    assert known == ["Dog"]
    torch.manual_seed(0)
    network = Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LabelSet(("Cat", "Dog")))
    network.thresholds = (0.25, 0.75)
    changed = without_thresholds(network, known)
    assert changed.thresholds == (1.0, 0.75) and network.thresholds == (0.25, 0.75)
    assert changed.extra["labels_without_threshold"] == ["Cat"]


def test_the_page_shows_the_agreement_of_each_seed() -> None:
    run = {"teacher": "mn04", "share": 0.1, "commit": "0123456789", "n_clips": 9, "mAP": 0.7, "n_labels": 3}
    run |= {"threshold": 0.5, "mean_absolute_difference": 0.01, "known": ["Dog"], "n_bytes": 2_100_000}
    run |= {"n_parameters": 1200, "sources": ["berklee (CC BY 3.0)"]}
    run["exported"] = {"mean_absolute_difference": 0.002, "largest_difference": 0.125, "same_first_label": 0.97}
    run["kinds"] = {"music": {"n_labels": 2, "mAP": 0.25, "mean_absolute_difference": 0.02}}
    run |= {"n_train": 1769, "n_clips_seen": 120_000}
    text = page([{**run, "seed": 0}, {**run, "seed": 1}])
    assert (
        "With seed 1 the student saw 120,000 clips from 1,769 recordings." in text
        and "its mAP is 0.700 over the 3" in text
    )
    assert "has 1,200 parameters. Exported in 8 bits, the model is 2.1 MB" in text
    assert (
        "by 0.00200 on average and by 0.12 at most. The label with the highest score is the same for 97.0 % of the"
        in text
    )
    assert "1 labels have 3 positives or more and an average precision of 0.5 or more against the teacher." in text
    assert "Only these have thresholds: Dog." in text and "| 1 | music | 2 | 0.250 | 0.0200 |" in text


def test_a_missing_folder_is_wrong_usage(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["audioset-student", str(tmp_path)]) == 2
    assert "AUDIO, TEACHER and WORK were expected" in capfd.readouterr().err
