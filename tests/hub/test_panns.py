"""Published PANNs weights, compared with a plain implementation of Cnn10."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import earmark
from earmark.audio.recording import Audio
from earmark.errors import AudioError, CheckpointError
from earmark.hub.torch_files import read_network
from earmark.inference.engine import ChunkedEncoder
from earmark.inference.torch_engine import TorchEngine
from earmark.labels import LabelSet
from earmark.model.network import Network
from tests.hub.panns_references import Cnn
from tests.hub.sounds import noise

HOP = 320
SEGMENT = 16 * HOP
# 80 to 300 frames: odd before one, several or none of the four halvings; near whole hops
LENGTHS = (
    SEGMENT - HOP,
    SEGMENT - 1,
    SEGMENT,
    SEGMENT + 1,
    2 * SEGMENT - HOP,
    30_000,
    81 * HOP,
    82 * HOP + 5,
    84 * HOP,
)
LENGTHS += (86 * HOP, 88 * HOP, 95 * HOP - 1, 95 * HOP, 40_001)


@pytest.fixture(scope="module")
def theirs() -> Cnn:
    torch.manual_seed(0)
    return Cnn()


@pytest.fixture(scope="module")
def file(theirs: Cnn, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("panns") / "Cnn10_mAP=0.380.pth"
    torch.save({"iteration": 600000, "model": theirs.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def ours(file: Path) -> Network:
    return read_network(file)


def scores(network: nn.Module, waveform: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return network(torch.from_numpy(waveform)[None])[0].numpy()


def close(got: Any, wanted: Any) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("n_samples", [*LENGTHS, 320_000, 12 * 32_000 + 77])
def test_scores_equal_those_of_cnn10(theirs: Cnn, ours: Network, n_samples: int) -> None:
    expected = scores(theirs, noise(n_samples))
    assert expected.std() > 0.1
    with torch.inference_mode():
        close(torch.sigmoid(ours(torch.from_numpy(noise(n_samples))[None]))[0], expected)
    engine = TorchEngine(ours)
    close(torch.sigmoid(torch.from_numpy(engine.classify(engine.encode(noise(n_samples)[None]))[0])), expected)


def test_the_full_width_has_the_published_number_of_parameters(tmp_path: Path) -> None:
    torch.manual_seed(1)
    theirs = Cnn(64)
    torch.save({"model": theirs.state_dict()}, tmp_path / "a.pth")
    ours = read_network(tmp_path / "a.pth")
    assert ours.n_parameters == 5_219_279
    assert len(theirs.state_dict()) == 60
    close(torch.sigmoid(torch.from_numpy(scores(ours, noise(40_001)))), scores(theirs, noise(40_001)))


@pytest.mark.parametrize("filler", [0.0, 3.0])
def test_padding_in_a_batch_does_not_change_scores(theirs: Cnn, ours: Network, filler: float) -> None:
    lengths = [*LENGTHS, 100, 3000, 1]
    batch = torch.full((len(lengths), max(lengths)), filler)
    for row, n_samples in zip(batch, lengths, strict=True):
        row[:n_samples] = torch.from_numpy(noise(n_samples))
    with torch.inference_mode():
        together = torch.sigmoid(ours(batch, torch.tensor(lengths)))
        for row, n_samples in zip(together, lengths, strict=True):
            alone = torch.sigmoid(ours(torch.from_numpy(noise(n_samples))[None]))[0]
            close(row, alone)
            if n_samples > 3000:
                close(row, scores(theirs, noise(n_samples)))


@pytest.mark.parametrize("n_samples", [1, 513, 3000, SEGMENT - HOP - 1])
def test_short_clips_are_padded_with_silence(theirs: Cnn, ours: Network, n_samples: int) -> None:
    clip = noise(n_samples)
    frames = ours.frontend(torch.from_numpy(clip)[None])
    silent = F.pad(frames, (0, 0, 0, 16 - frames.shape[1]), value=-100.0)
    with torch.inference_mode():
        close(scores(ours, clip), ours.logits_from_log_mel(silent)[0])
    engine = TorchEngine(ours)
    assert len(engine.encode(clip[None])[0]) == 1
    close(engine.classify(engine.encode(clip[None]))[0], scores(ours, clip))
    followed = np.pad(clip, (0, SEGMENT - HOP - n_samples))
    assert np.abs(scores(theirs, followed) - torch.sigmoid(torch.from_numpy(scores(ours, clip))).numpy()).max() < 0.5


def test_all_forms_of_state_dicts_are_read(theirs: Cnn, tmp_path: Path) -> None:
    state = theirs.state_dict()
    forms: dict[str, Any] = {
        "bare": state,
        "prefixed": {"model": {f"module.{name}": value for name, value in state.items()}},
        "without counters": {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
        "without a front end": {k: v for k, v in state.items() if "extractor" not in k},
    }
    for name, content in forms.items():
        torch.save(content, tmp_path / f"{name}.pth")
        close(
            torch.sigmoid(torch.from_numpy(scores(read_network(tmp_path / f"{name}.pth"), noise(9000)))),
            scores(theirs, noise(9000)),
        )
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    close(
        scores(read_network(tmp_path / "old.pth"), noise(9000)),
        scores(read_network(tmp_path / "bare.pth"), noise(9000)),
    )


@pytest.mark.parametrize("n_segments", [1, 3])
@pytest.mark.parametrize("more", [-HOP - 1, -HOP, -1, 0, 1, HOP, 2000])
def test_chunked_segments_equal_those_of_the_recording(ours: Network, n_segments: int, more: int) -> None:
    engine = TorchEngine(ours)
    waveform = noise(9 * SEGMENT + more)
    encoder = ChunkedEncoder(engine, n_segments)
    pieces = [part for block in np.array_split(waveform, 7) for part in encoder.push(block)]
    whole = engine.encode(waveform[None])[0]
    assert len(whole) == (len(waveform) + HOP) // SEGMENT
    np.testing.assert_allclose(np.concatenate([*pieces, encoder.finish()]), whole, atol=2e-5)


@pytest.mark.parametrize("n_samples", [1, 1000, SEGMENT - HOP, 2 * SEGMENT - 1, 100_000, 12 * SEGMENT - HOP])
def test_a_stream_equals_the_timeline(file: Path, n_samples: int) -> None:
    tagger, audio = earmark.load(file), Audio(noise(n_samples), 32_000)
    timeline = tagger.timeline(audio, window=0.5, hop=0.16)
    stream = tagger.stream(32_000, window=0.5, hop=0.16, threshold=0.6)
    events = [event for part in np.array_split(audio.waveform, 5) for event in stream.push(part)] + stream.finish()
    expected = timeline.events(0.6)
    assert n_samples < 10_000 or expected
    key = lambda event: (event.label, event.onset)  # noqa: E731
    for event, wanted in zip(sorted(events, key=key), sorted(expected, key=key), strict=True):
        assert event.label == wanted.label
        assert (event.onset, event.offset) == pytest.approx((wanted.onset, wanted.offset), abs=1e-9)
        assert event.score == pytest.approx(wanted.score, abs=1e-5)


def test_a_pth_file_loads_as_a_tagger(file: Path, theirs: Cnn) -> None:
    tagger = earmark.load(str(file))
    assert tagger.labels == LabelSet.audioset() and tagger.seconds_per_segment == pytest.approx(0.16)
    audio = Audio(noise(320_000), 32_000)
    expected = scores(theirs, audio.waveform)
    close(tagger.score(audio).scores, expected)
    tags = tagger.tag(audio, top=3)
    assert [tag.label for tag in tags] == [tagger.labels.names[i] for i in np.argsort(-expected)[:3]]
    assert tagger.embed(audio).shape == (32,)
    timeline = tagger.timeline(audio, window=1.0, hop=0.5)
    assert timeline.scores.shape[1] == 527 and 9.0 < timeline.onsets[-1] < 10.0
    evidence = tagger.evidence(audio, "Speech")
    assert len(evidence.weights) == 62 and evidence.attention is None
    with pytest.raises(AudioError, match=r"one segment of 0\.16 s"):
        tagger.evidence(Audio(noise(2 * SEGMENT - HOP - 1), 32_000), "Speech")


def test_the_network_can_be_saved_as_a_checkpoint(ours: Network, tmp_path: Path) -> None:
    ours.save(tmp_path / "cnn10.safetensors")
    again = earmark.load(tmp_path / "cnn10.safetensors")
    assert again.labels == LabelSet.audioset() and again.engine.clip_duration == 10.0
    assert Network.load(tmp_path / "cnn10.safetensors").config == ours.config
    np.testing.assert_array_equal(
        scores(Network.load(tmp_path / "cnn10.safetensors"), noise(9000)), scores(ours, noise(9000))
    )


def test_the_exported_network_has_the_same_scores(ours: Network, theirs: Cnn, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    import onnx

    from earmark.export.onnx_file import export
    from earmark.export.quantization import quantize

    assert export(ours, tmp_path / "a.onnx").difference < 1e-5
    eight_bits = quantize(onnx.load(tmp_path / "a.onnx"), [noise(64_000)], 32_000)
    (tmp_path / "int8.onnx").write_bytes(eight_bits.SerializeToString())
    tagger, quantized = earmark.load(tmp_path / "a.onnx"), earmark.load(tmp_path / "int8.onnx")
    for n_samples in (*LENGTHS, 1, 3000):
        audio = Audio(noise(n_samples), 32_000)
        expected = tagger.score(audio).scores
        close(expected, 1 / (1 + np.exp(-scores(ours, audio.waveform))))
        if n_samples > 3000:
            close(expected, scores(theirs, audio.waveform))
        assert len(quantized.engine.encode(audio.waveform[None])[0]) == len(
            tagger.engine.encode(audio.waveform[None])[0]
        )
        assert np.abs(quantized.score(audio).scores - expected).max() < 0.2


class Harmful:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("harm",)


def edited(state: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**state, **{name.replace("__", "."): value for name, value in changes.items()}}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda state: {"model": state, "hook": Harmful()}, "damaged or holds code"),
        (lambda state: [1, 2], "it is no state dict"),
        (lambda state: {}, "it is no state dict"),
        (lambda state: edited(state, fc1__bias="text"), r"fc1\.bias is no plain tensor"),
        (
            lambda state: {k: v for k, v in state.items() if "block4" not in k},
            "10 tensors are missing, for example",
        ),
        (lambda state: edited(state, conv_block5__conv1__weight=torch.zeros(1)), "1 tensors are unknown"),
        (lambda state: edited(state, fc_audioset__weight=torch.zeros(50, 32)), "expected 527 outputs.* got 50"),
        (
            lambda state: edited(state, fc1__weight=torch.zeros(7, 32)),
            r"do not have the shapes of Cnn10 .*size mismatch for",
        ),
        (lambda state: edited(state, fc_audioset__weight=torch.tensor(1.0)), "527 outputs"),
        (lambda state: edited(state, conv_block1__conv1__weight=torch.zeros(0, 1, 3, 3)), "do not have the shapes"),
        (
            lambda state: edited(state, logmel_extractor__melW=torch.zeros(513, 64)),
            r"expected the front end .*logmel_ext",
        ),
        (lambda state: edited(state, logmel_extractor__melW=torch.zeros(257, 64)), "expected the front end"),
        (
            lambda state: edited(
                state,
                spectrogram_extractor__stft__conv_imag__weight=state["spectrogram_extractor.stft.conv_real.weight"],
            ),
            r"expected the front end .*1024 samples per frame at 32000 Hz, 64 mel bins from 50 to 14000 Hz",
        ),
    ],
)
def test_other_networks_are_refused_in_one_line(
    theirs: Cnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(change(theirs.state_dict()), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=text) as caught:
        earmark.load(tmp_path / "a.pth")
    assert str(caught.value).startswith(str(tmp_path / "a.pth")) and len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "harm").exists()
