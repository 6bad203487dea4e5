"""The encoders of exported networks; `test_onnx_file.py` compares whole files."""

import pytest
import torch

from earmark.errors import ConfigError
from earmark.export.encoders import CnnEncoder, MnEncoder, encoder_of
from tests.networks import small_network


@pytest.mark.parametrize(("backbone", "kind"), [("cnn", CnnEncoder), ("light", CnnEncoder), ("mn", MnEncoder)])
def test_each_family_has_its_encoder(backbone: str, kind: type) -> None:
    assert isinstance(encoder_of(small_network(backbone=backbone, width=4)), kind)


def test_other_backbones_are_refused() -> None:
    network = small_network()
    network.backbone = torch.nn.Identity()
    with pytest.raises(ConfigError, match="backbone: the backbone cnn cannot be exported"):
        encoder_of(network)
