"""HEAR's interface: its shapes and times, and equal results for a batch and for single sounds."""

from pathlib import Path

import numpy as np
import pytest
import torch

from earmark import hub
from earmark.audio.recording import Audio
from earmark.errors import AudioError, CheckpointError
from earmark.integrations import hear
from tests.networks import small_network

RATE = 16000
STEP = 6400  # samples of a segment of 0.4 s


@pytest.fixture(scope="module", params=["gmap", "linear_softmax"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> hear.Model:
    """Models whose pooling is at the embedding level and at the instance level."""
    path = tmp_path_factory.mktemp("hear") / "small.safetensors"
    small_network(pooling=request.param).save(path)
    return hear.load_model(str(path))


def sounds(n_sounds: int, n_samples: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (n_sounds, n_samples)).astype(np.float32))


def test_a_model_has_the_attributes_that_evaluators_read(model: hear.Model) -> None:
    assert isinstance(model, torch.nn.Module)
    assert model.sample_rate == RATE
    assert type(model.scene_embedding_size) is int and type(model.timestamp_embedding_size) is int


# the lengths of the public validator, and less than half a segment
@pytest.mark.parametrize("seconds", [1.07, 1.98, 2.74, 4.0, 0.1])
def test_embeddings_have_their_shapes_and_times(model: hear.Model, seconds: float) -> None:
    audio = sounds(2, round(seconds * RATE))
    scenes = hear.get_scene_embeddings(audio, model)
    assert scenes.dtype == torch.float32 and scenes.shape == (2, model.scene_embedding_size)
    segments, times = hear.get_timestamp_embeddings(audio, model)
    assert segments.dtype == torch.float32
    assert segments.shape == (2, times.shape[1], model.timestamp_embedding_size) and times.shape[0] == 2
    step = 1000 * STEP / RATE
    expected = [step / 2 + step * i for i in range(max(1, round(seconds * RATE / STEP + 1e-9)))]
    np.testing.assert_allclose(times[1].numpy(), np.minimum(expected, 1000 * seconds), atol=1e-3)
    assert times.max() <= 1000 * seconds and times.max() > 1000 * seconds - 2 * step


def test_a_batch_gives_the_embeddings_of_single_sounds(model: hear.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.inference.engine.CHUNK_SECONDS", 1.2)
    audio = sounds(3, 4 * RATE)  # longer than what is encoded at once
    scenes, (segments, times) = hear.get_scene_embeddings(audio, model), hear.get_timestamp_embeddings(audio, model)
    for i in range(3):
        torch.testing.assert_close(hear.get_scene_embeddings(audio[i : i + 1], model)[0], scenes[i], atol=1e-5, rtol=0)
        alone, own_times = hear.get_timestamp_embeddings(audio[i : i + 1], model)
        torch.testing.assert_close(alone[0], segments[i], atol=1e-5, rtol=0)
        assert torch.equal(own_times[0], times[i])


def test_scenes_are_the_embeddings_of_the_tagger(model: hear.Model, tmp_path: Path) -> None:
    audio, path = sounds(1, 3 * RATE), tmp_path / "model.safetensors"
    model.network.save(path)
    expected = hub.load(path).embed(Audio(audio[0].numpy(), RATE))
    np.testing.assert_allclose(hear.get_scene_embeddings(audio, model)[0].numpy(), expected, atol=1e-5)


def test_the_default_is_the_shipped_model() -> None:
    assert hear.load_model("").network.labels == hub.load().labels


def test_wrong_audio_and_wrong_models_are_refused(model: hear.Model, tmp_path: Path) -> None:
    for shape in ((2, 0), (0, RATE)):
        with pytest.raises(AudioError, match=r"audio of shape \(sounds, samples\) was expected"):
            hear.get_scene_embeddings(torch.zeros(shape), model)
    (tmp_path / "exported.onnx").touch()
    with pytest.raises(CheckpointError, match=r"expected a \.safetensors checkpoint"):
        hear.load_model(str(tmp_path / "exported.onnx"))
