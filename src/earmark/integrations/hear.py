"""The interface of HEAR (Holistic Evaluation of Audio Representations): `heareval earmark.integrations.hear`.

Three functions and three attributes, as the page "HEAR API" of https://hearbenchmark.com defines them.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from earmark import hub
from earmark.errors import AudioError
from earmark.inference.engine import encode_clips
from earmark.inference.torch_engine import TorchEngine
from earmark.model.network import Network


class Model(nn.Module):
    """A network with the attributes of HEAR's models; it runs on the device to which the module is moved.

    Args:
        network: The network.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network.eval()
        self.sample_rate = network.config.frontend.sample_rate
        """Hz of the audio that the functions take."""
        self.timestamp_embedding_size = network.backbone.n_channels
        """Width of a segment."""
        self.scene_embedding_size = network.pooling.n_features
        """Width of a pooled clip; the number of labels where the pooling is at the instance level."""
        self._engine: tuple[torch.device, TorchEngine] | None = None

    @property
    def engine(self) -> TorchEngine:
        """The engine on the current device."""
        device = self.network.device
        if self._engine is None or self._engine[0] != device:
            self._engine = device, TorchEngine(self.network)
        return self._engine[1]


def load_model(model_file_path: str = hub.DEFAULT_MODEL) -> Model:
    """The model of a name or path, as in `earmark.load`; an exported `.onnx` file is no PyTorch module.

    Raises:
        CheckpointError: As for `earmark.load`.
    """
    return Model(hub.load_network(model_file_path or hub.DEFAULT_MODEL))


def get_scene_embeddings(audio: Float[Tensor, "sound sample"], model: Model) -> Float[Tensor, "sound feature"]:
    """The embedding of each sound: its pooled segments, as in `Tagger.embed`.

    Args:
        audio: Mono sounds of the same length, from -1 to 1, at `model.sample_rate`.
        model: The result of `load_model`.

    Raises:
        AudioError: The audio has another shape or no samples.
    """
    return _as_tensor(model.engine.pool(_segments(audio, model)), audio)


def get_timestamp_embeddings(
    audio: Float[Tensor, "sound sample"], model: Model
) -> tuple[Float[Tensor, "sound segment channel"], Float[Tensor, "sound segment"]]:
    """The segments of each sound, and the time of the middle of each in milliseconds.

    A partial last segment is left out where its middle would lie behind the end of the sound.

    Args:
        audio: As in `get_scene_embeddings`.
        model: As in `get_scene_embeddings`.

    Raises:
        AudioError: As for `get_scene_embeddings`.
    """
    segments, step = _segments(audio, model), model.engine.samples_per_segment
    n_kept = max(1, min(segments.shape[1], (audio.shape[1] + step // 2) // step))
    middles = (np.arange(n_kept) + 0.5) * step
    times = np.minimum(middles, audio.shape[1]) * 1000 / model.sample_rate
    repeated = np.repeat(times[None].astype(np.float32), len(segments), axis=0)
    return _as_tensor(segments[:, :n_kept], audio), _as_tensor(repeated, audio)


def _segments(audio: Tensor, model: Model) -> Float[np.ndarray, "sound segment channel"]:
    if audio.ndim != 2 or not audio.numel():
        raise AudioError(f"audio of shape (sounds, samples) was expected, not {tuple(audio.shape)}")
    waveforms = audio.detach().cpu().float().numpy()
    return np.stack(list(encode_clips(model.engine, waveforms)))


def _as_tensor(array: np.ndarray, audio: Tensor) -> Tensor:
    """The array on the device of the audio."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(audio.device)
