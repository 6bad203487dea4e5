"""The PANNs beside Cnn10, compared with plain definitions under the published names."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import earmark
from earmark.errors import CheckpointError, ConfigError
from earmark.hub.panns import FAMILIES, name_map
from earmark.hub.published import PUBLISHED
from earmark.hub.torch_files import read_network
from earmark.inference.engine import ChunkedEncoder
from earmark.inference.torch_engine import TorchEngine
from earmark.model.network import Network
from tests.hub.panns_references import (
    FRONTEND_16K,
    Cnn,
    MobileNetV1,
    MobileNetV2,
    Pann,
    ResNet38,
    WavegramLogmelCnn14,
)
from tests.hub.sounds import noise

REFERENCES: dict[str, Callable[..., Pann]] = {
    "cnn14": partial(Cnn, n_blocks=6),
    "cnn14-16k": partial(Cnn, n_blocks=6, frontend=FRONTEND_16K),
    "resnet38": ResNet38,
    "wavegram-logmel-cnn14": WavegramLogmelCnn14,
    "mobilenetv1": MobileNetV1,
    "mobilenetv2": MobileNetV2,
}
HALOS = {
    "cnn14": 4,
    "cnn14-16k": 4,
    "resnet38": 10,
    "wavegram-logmel-cnn14": 4,
    "mobilenetv1": 5,
    "mobilenetv2": 10,
}
"""Segments of 0.32 s on either side that a segment depends on."""


@pytest.fixture(scope="module", params=REFERENCES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def theirs(name: str) -> Pann:
    torch.manual_seed(0)
    return REFERENCES[name]()


@pytest.fixture(scope="module")
def file(name: str, theirs: Pann, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("panns") / PUBLISHED[name].file.name
    torch.save({"model": theirs.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def ours(file: Path) -> Network:
    return read_network(file)


def lengths(ours: Network) -> list[int]:
    """Lengths of clips, in which the published networks run: a wavegram has half as many frames as the log-mel."""
    hop = ours.config.frontend.hop_length
    return [frames * hop + more for frames, more in ((64, 0), (126, 1), (100, 77), (97, hop - 3), (31, hop - 1))]


def close(got: np.ndarray | torch.Tensor, wanted: np.ndarray | torch.Tensor) -> None:
    """Equal to 1e-5 of the largest value."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))


def test_segments_and_scores_equal_those_of_the_definition(theirs: Pann, ours: Network) -> None:
    engine = TorchEngine(ours)
    for n_samples in lengths(ours):
        waveform = torch.from_numpy(noise(n_samples))[None]
        with torch.inference_mode():
            segments, scores = theirs.segments(waveform), theirs(waveform)
            close(ours.encode(waveform), segments)
            close(torch.sigmoid(ours(waveform)), scores)
        close(engine.encode(noise(n_samples)[None])[0], segments[0])
        assert scores.std() > 0.01 and segments.std() > 0.01


def test_padding_in_a_batch_changes_nothing(ours: Network) -> None:
    clips = [noise(n) for n in (*lengths(ours), 1, 700, 9000)]
    batch = torch.full((len(clips), max(map(len, clips))), 3.0)
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    with torch.inference_mode():
        together = ours(batch, torch.tensor([len(clip) for clip in clips]))
        for row, clip in zip(together, clips, strict=True):
            close(row, ours(torch.from_numpy(clip)[None])[0])


def test_chunks_equal_the_recording(name: str, ours: Network) -> None:
    engine = TorchEngine(ours)
    assert engine.halo == HALOS[name]
    step = engine.samples_per_segment
    waveform = noise((2 * engine.halo + 8) * step + 777)
    encoder = ChunkedEncoder(engine, 3)
    pieces = [part for block in np.array_split(waveform, 7) for part in encoder.push(block)]
    assert len(pieces) > 1
    close(np.concatenate([*pieces, encoder.finish()]), engine.encode(waveform[None])[0])


def test_at_full_width_tensors_have_the_published_names_and_shapes(name: str, ours: Network) -> None:
    family = next(family for family in FAMILIES if family.backbone == ours.config.backbone)
    with torch.device("meta"):
        theirs = REFERENCES[name](64)
        n_hidden = None if name != "mobilenetv2" else 1024
        network = Network(replace(ours.config, width=64, classifier_width=n_hidden), ours.labels)
    known, found = theirs.state_dict(), network.state_dict()
    names = name_map(family)
    assert set(known) - set(names) == {entry for entry in known if "extractor" in entry}
    for published, mine in names.items():
        shape = known[published].shape
        assert found[mine].shape == (shape if len(shape) != 3 else (*shape, 1))
    n_parameters = sum(parameter.numel() for parameter in theirs.parameters() if parameter.requires_grad)
    assert network.n_parameters == n_parameters == PUBLISHED[name].n_parameters


def test_a_file_of_the_published_name_tags(name: str, file: Path, ours: Network) -> None:
    tagger = earmark.load(file)
    assert len(tagger.labels) == 527 and tagger.seconds_per_segment == pytest.approx(0.32)
    assert tagger.engine.sample_rate == (16000 if name == "cnn14-16k" else 32000)
    assert ours.extra["origin"].startswith(f"PANNs {file.name.split('_16k')[0].split('_mAP')[0]}")


def test_a_network_of_another_depth_is_refused(name: str, theirs: Pann, tmp_path: Path) -> None:
    state = theirs.state_dict()
    state["conv_block7.conv1.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth: expected .*PANNs.*1 tensors are unknown") as caught:
        read_network(tmp_path / "a.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["wavegram-logmel-cnn14", "mobilenetv1"], indirect=True)
def test_the_exported_network_has_the_same_scores(ours: Network, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from earmark.export.onnx_file import export

    with pytest.raises(ConfigError, match=r"int8: 8 bits are not available for the backbone .*float16=True"):
        export(ours, tmp_path / "a.onnx", [noise(32_000)])
    assert export(ours, tmp_path / "a.onnx").difference < 1e-5
    engine, reference = earmark.load(tmp_path / "a.onnx").engine, TorchEngine(ours)
    for n_samples in (*lengths(ours), 1, 3000):
        close(engine.encode(noise(n_samples)[None])[0], reference.encode(noise(n_samples)[None])[0])
