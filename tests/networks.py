"""A small network for tests of tagging and export, and its graphs."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx
import pytest
import torch

from earmark.export import onnx_file
from earmark.labels import LabelSet
from earmark.model.backbones import Backbone
from earmark.model.backbones.layers import MaskedBatchNorm
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig

LABELS = LabelSet(("dog", "rain", "siren"), ("/d", "/r", "/s"))


def small_network(**changes) -> Network:
    """A network with a clip duration and thresholds, whose batch norm is not the identity in evaluation."""
    torch.manual_seed(0)
    net = Network(NetworkConfig(**{"frontend": FrontendConfig.at_16k(), "width": 2, "n_heads": 2, **changes}), LABELS)
    torch.manual_seed(1)  # batch norm is the same for all poolings
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and net.config.backbone == "light":
            module.momentum = None  # otherwise its segments would be almost zero
    net.train()(torch.randn(8, 16000))
    torch.manual_seed(2)  # poolings are the same for all backbones
    for parameter in net.pooling.parameters():
        torch.nn.init.uniform_(parameter, -0.75, 0.75)
    for parameter in net.classifier.parameters():
        torch.nn.init.uniform_(parameter, -0.25, 0.25)
    net.thresholds, net.extra = (0.25, 0.5, 0.75), {"clip_duration": 5.0, "seed": 7}
    return net.eval()


def backbone(kind: type[Backbone], width: int = 4, n_mels: int = 32, partial_segments: bool = True) -> Backbone:
    """In evaluation, with batch-norm statistics as unlike 0 and 1 as trained ones."""
    torch.manual_seed(0)
    net = kind(n_mels, width, 0.2, partial_segments).eval()
    for module in net.modules():
        if isinstance(module, MaskedBatchNorm):
            torch.nn.init.normal_(module.running_mean, std=0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.bias, std=0.5)
            if not module.weight.any():  # a residual block begins as the identity
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return net


def multiplications(config: NetworkConfig) -> int:
    """Multiplications of the convolutions and linear layers of a network with AudioSet's labels for a clip of 10 s."""
    network = Network(config, LabelSet.audioset()).eval()
    counts = []

    def count(module, inputs, output):
        counts.append(output.numel() * module.weight[0].numel())

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    frontend, n_samples = config.frontend, 10 * config.frontend.sample_rate
    with torch.no_grad():
        log_mel = torch.zeros(1, frontend.n_frames(n_samples), frontend.n_mels)
        network.logits_from_log_mel(log_mel, None, torch.zeros(1, n_samples))
    return sum(counts)


@contextmanager
def graphs_made_once(write_once: Callable[[str, Callable[[Path], object]], Path]) -> Iterator[None]:
    """Exports share the graphs of equal modules, also between test processes: each takes seconds."""
    export_module = onnx_file._export_module

    def export_once(module: torch.nn.Module, inputs: Mapping, outputs: Mapping) -> onnx.ModelProto:
        digest = hashlib.sha256(repr((module, inputs, outputs)).encode())
        for tensor in module.state_dict().values():
            digest.update(tensor.numpy().tobytes())

        def write(folder: Path) -> None:
            onnx.save(export_module(module, inputs, outputs), folder / "graph.onnx")

        return onnx.load(write_once(f"graph-{digest.hexdigest()[:16]}", write) / "graph.onnx")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "_export_module", export_once)
        yield
