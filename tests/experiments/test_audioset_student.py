"""Agreement of a student by kind of sound, and its thresholds."""

import pytest
import torch

from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from experiments.audioset_student import by_kind, kind_of_labels, known_labels, without_thresholds

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
