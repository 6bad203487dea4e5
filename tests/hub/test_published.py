"""The table of models by name."""

from dataclasses import replace

import pytest
import torch

from earmark import hub
from earmark.hub.efficientat import FRONTEND, hidden_width
from earmark.hub.panns import FRONTEND as PANNS
from earmark.hub.panns import FRONTEND_16K as PANNS_16K
from earmark.hub.published import PUBLISHED, SHIPPED, NamedModel
from earmark.labels import LabelSet
from earmark.model.network import Network, NetworkConfig
from tests.networks import multiplications

PANN = NetworkConfig(PANNS, partial_segments=False, pooling="max_mean")
ARCHITECTURES = {
    "panns-cnn10": PANN,
    "cnn14": replace(PANN, backbone="cnn14"),
    "cnn14-16k": replace(PANN, backbone="cnn14", frontend=PANNS_16K),
    "resnet38": replace(PANN, backbone="resnet38"),
    "wavegram-logmel-cnn14": replace(PANN, backbone="wavegram"),
    "mobilenetv1": replace(PANN, backbone="mobilenetv1"),
    "mobilenetv2": replace(PANN, backbone="mobilenetv2", classifier_width=1024),
    **{
        f"mn{width // 10:02}": NetworkConfig(
            FRONTEND,
            backbone="mn",
            width=width,
            pooling="mean",
            classifier_activation="hardswish",
            classifier_width=hidden_width(width),
        )
        for width in (40, 50, 100, 200, 400)
    },
}


def test_every_published_model_is_measured() -> None:
    assert list(ARCHITECTURES) == list(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_costs_are_those_of_the_network(name: str) -> None:
    config, model = ARCHITECTURES[name], PUBLISHED[name]
    with torch.device("meta"):
        network = Network(config, LabelSet.audioset())
    assert model.n_parameters == network.n_parameters and model.n_labels == len(LabelSet.audioset())
    if model.n_multiplications < 5e9:  # counting takes a pass through the network
        assert model.n_multiplications == pytest.approx(multiplications(config), rel=1e-3)


def test_the_shipped_model_is_described() -> None:
    network, model = hub.load_network("earmark-esc50"), SHIPPED["earmark-esc50"]
    assert model.n_parameters == network.n_parameters and model.n_labels == len(network.labels)
    assert model.n_multiplications == pytest.approx(multiplications(network.config), rel=1e-3)
    assert model.path() is None


@pytest.mark.parametrize("model", PUBLISHED.values(), ids=PUBLISHED)
def test_files_are_found_by_their_published_name(model: NamedModel, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARMARK_CACHE", str(tmp_path))
    assert model.file.url.startswith("https://") and model.path() is None
    (tmp_path / model.file.name).touch()
    assert model.path() == tmp_path / model.file.name
