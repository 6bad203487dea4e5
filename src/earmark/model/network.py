"""The four stages as one network, its one-file checkpoint, and the engine that inference runs on."""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from earmark.errors import CheckpointError, ConfigError, DataError, Limit, check_settings
from earmark.labels import LabelSet
from earmark.model.backbone import BACKBONES, FoldedBackbone
from earmark.model.frontend import FrontendConfig, LogMel
from earmark.model.pooling import POOLINGS, GatedMultiHeadAttentionPooling, Pooling
from earmark.storage.files import atomic_write

FORMAT: Final = 1
"""Number of the checkpoint format; a reader refuses a higher one."""


@dataclass(frozen=True)
class NetworkConfig:
    """What a network is, its labels and weights aside; the defaults are the paper's GMAP."""

    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    """How the waveform becomes a log-mel."""
    backbone: str = "cnn"
    """Name of the backbone, a key of `BACKBONES`; cnn is the paper's."""
    width: Annotated[int, Limit(at_least=1)] = 64
    """Channels of the backbone's first block; a segment has 8 times as many."""
    partial_segments: bool = True
    """Whether frames at a clip's end that are too few for a segment are one; PANNs drop them."""
    pooling: str = "gmap"
    """Name of the pooling, a key of `POOLINGS`."""
    n_heads: Annotated[int, Limit(at_least=1)] = 4
    """Heads of GMAP; the other poolings have one or none."""
    gate: bool = True
    """GMAP's gate (eq. 11)."""
    deviation: bool = True
    """GMAP's deviations beside the means (eq. 10)."""
    block_dropout: Annotated[float, Limit(at_least=0, below=1)] = 0.2
    """Dropout after each block of the backbone."""
    dropout: Annotated[float, Limit(at_least=0, below=1)] = 0.5
    """Dropout before the classifier."""

    def __post_init__(self) -> None:
        check_settings(self)
        for name, choices in (("backbone", BACKBONES), ("pooling", POOLINGS)):
            if getattr(self, name) not in choices:
                raise ConfigError(f"one of {', '.join(choices)} was expected, not {getattr(self, name)!r}", name)
        if self.backbone != "cnn" and not self.partial_segments:
            raise ConfigError(f"true was expected for the backbone {self.backbone!r}, not false", "partial_segments")
        if self.pooling == "gmap" and 8 * self.width % self.n_heads:
            raise ConfigError(
                f"a divisor of the {8 * self.width} channels of a segment was expected, not {self.n_heads}", "n_heads"
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "NetworkConfig":
        """The config that `to_json` wrote.

        Raises:
            ConfigError: A key is unknown, or a value outside what it can be.
        """
        frontend = _known(FrontendConfig, values.get("frontend", {}))
        return cls(**{**_known(cls, values), "frontend": FrontendConfig(**frontend)})


def _known(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    names = [f.name for f in fields(cls)]
    if unknown := sorted(set(values) - set(names)):
        raise ConfigError(f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(names)}")
    return values


class Network(nn.Module):
    """Waveform to logits in four stages, of which the first is the front end itself.

    Args:
        config: What to build; weights are random.
        labels: What the logits stand for, in their order.
    """

    def __init__(self, config: NetworkConfig, labels: LabelSet) -> None:
        super().__init__()
        self.config = config
        self.labels = labels
        self.thresholds: tuple[float, ...] | None = None
        self.extra: dict[str, Any] = {}
        self.frontend = LogMel(config.frontend)
        self.backbone = BACKBONES[config.backbone](
            config.frontend.n_mels, config.width, config.block_dropout, config.partial_segments
        )
        n_channels = self.backbone.n_channels
        self.pooling: Pooling[Any] = (
            GatedMultiHeadAttentionPooling(n_channels, config.n_heads, config.gate, config.deviation)
            if config.pooling == "gmap"
            else POOLINGS[config.pooling](n_channels)
        )
        hidden, last = nn.Linear(self.pooling.n_features, n_channels), nn.Linear(n_channels, len(labels))
        for layer in (hidden, last):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), hidden, nn.ReLU(), last)
        # convolutions run half again as fast with channels last, on CPUs as on GPUs
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    def n_multiplications(self, seconds: float) -> int:
        """Multiplications (each with an addition) in tagging a clip: of all stages but the front end.

        >>> network = Network(NetworkConfig(), LabelSet.audioset())
        >>> f"{network.n_multiplications(10.0):.2e}"
        '5.21e+09'
        """
        config = self.config.frontend
        n_frames = config.n_frames(round(seconds * config.sample_rate))
        silence = torch.zeros(1, n_frames, config.n_mels, device=self.device)
        # counted by PyTorch as they happen; on a copy, in case that this one is being trained
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            copy.deepcopy(self).eval().logits_from_log_mel(silence)
        return int(counter.get_total_flops()) // 2

    @property
    def seconds_per_segment(self) -> float:
        return self.backbone.frames_per_segment * self.config.frontend.seconds_per_frame

    @property
    def receptive_field(self) -> float:
        """Seconds of the recording that one segment depends on (the Fourier window's own length aside)."""
        return self.backbone.receptive_field * self.config.frontend.seconds_per_frame

    @property
    def halo(self) -> int:
        """Segments on either side whose samples a segment depends on, the Fourier window's own length included."""
        frontend = self.config.frontend
        # the first frames of a piece hear its beginning mirrored
        n_frames = self.backbone.halo + -(-(frontend.n_fft // 2) // frontend.hop_length)
        return -(-n_frames // self.backbone.frames_per_segment)

    @property
    def clip_duration(self) -> float | None:
        """Seconds of the clips that it was trained on; None where the checkpoint does not say."""
        seconds = self.extra.get("clip_duration")
        return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None

    def forward(
        self, waveform: Float[Tensor, "batch sample"], n_samples: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch label"]:
        """Logits of each clip. In evaluation a clip's logits do not depend on what else is in the batch.

        Args:
            waveform: Mono, at `config.frontend.sample_rate`; shorter clips are padded at their end.
            n_samples: Samples of each clip before padding; all of them when missing.
        """
        segments = self.encode(waveform, n_samples)
        return self.classify(segments, self.segment_mask(n_samples, segments.shape[1]))

    def encode(
        self, waveform: Float[Tensor, "batch sample"], n_samples: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch segment channel"]:
        """The expensive part, run once: segments of each clip, `seconds_per_segment` apart."""
        log_mel = self.frontend(waveform, n_samples)
        segments: Tensor = self.backbone(log_mel, None if n_samples is None else self.frontend.n_frames(n_samples))
        return segments

    def classify(
        self, segments: Float[Tensor, "batch segment channel"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch label"]:
        """The cheap part, as often as wanted: logits of the bag of those segments that `mask` leaves."""
        clip = self.pooling(segments, mask)
        logits: Tensor = self.classifier(clip)
        return logits.float()

    def segment_mask(
        self, n_samples: Int[Tensor, " batch"] | None, n_segments: int
    ) -> Bool[Tensor, "batch segment"] | None:
        """True = a segment of the clip itself; None when no clip is padded."""
        if n_samples is None:
            return None
        return self._mask_of_frames(self.frontend.n_frames(n_samples), n_segments)

    def logits_from_log_mel(
        self, log_mel: Float[Tensor, "batch frame mel"], n_frames: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch label"]:
        """Logits from features that are at hand already, augmented ones in training."""
        segments = self.backbone(log_mel, n_frames)
        mask = None if n_frames is None else self._mask_of_frames(n_frames, segments.shape[1])
        return self.classify(segments, mask)

    def _mask_of_frames(self, n_frames: Tensor, n_segments: int) -> Tensor | None:
        real = self.backbone.n_segments(n_frames)
        if bool((real == n_segments).all()):  # asked before the move, which would make the processor wait for a GPU
            return None
        return torch.arange(n_segments, device=self.device) < real.to(self.device)[:, None]

    def attention(
        self, segments: Float[Tensor, "batch segment channel"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch head segment"]:
        """How each head of the pooling spreads its attention over the segments.

        Raises:
            ConfigError: The pooling pays no attention.
        """
        if not isinstance(self.pooling, GatedMultiHeadAttentionPooling):
            raise ConfigError(f"the pooling {self.config.pooling!r} has no attention; those that have: {ATTENTIVE}")
        return self.pooling.attention(segments, mask)

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def save(self, path: Path | str, extra: dict[str, Any] | None = None) -> None:
        """Writes the checkpoint, one `.safetensors` file that describes itself, whole or not at all.

        Args:
            path: The file.
            extra: Facts to keep with the weights (training data, seed, ...), plain JSON.

        Raises:
            OSError: It cannot be written; a disk that is full is one reason.
        """
        about = {
            "format": FORMAT,
            "network": self.config.to_json(),
            "labels": {"names": list(self.labels.names), "ids": list(self.labels.ids)},
            "thresholds": None if self.thresholds is None else list(self.thresholds),
            "extra": self.extra if extra is None else extra,
        }
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        with atomic_write(path) as temporary:
            # by way of memory: their own writers tell of a full disk in errors of their own
            temporary.write_bytes(as_safetensors(tensors, metadata={"earmark": json.dumps(about)}))

    @staticmethod
    def load(path: Path | str) -> "Network":
        """The network of a checkpoint, in evaluation mode, on the CPU.

        Raises:
            CheckpointError: The file is missing, no earmark checkpoint, damaged, or of a later format.
        """
        about, tensors = _read_checkpoint(Path(path))
        try:
            network = Network(NetworkConfig.from_json(about["network"]), LabelSet(**_label_fields(about)))
            network.load_state_dict(tensors)
        except (KeyError, TypeError, RuntimeError, ConfigError, DataError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{path}: its description and its weights do not fit together ({reason})") from error
        if about.get("thresholds") is not None:
            network.thresholds = tuple(float(threshold) for threshold in about["thresholds"])
        network.extra = about.get("extra") or {}
        return network.eval()


ATTENTIVE: Final = ", ".join(name for name, cls in POOLINGS.items() if issubclass(cls, GatedMultiHeadAttentionPooling))


def _label_fields(about: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(about["labels"][name]) for name in ("names", "ids")}


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a checkpoint written by `earmark train` was expected")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("earmark", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable .safetensors file ({error})") from error
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise CheckpointError(f"{path}: not an earmark checkpoint: it does not describe itself; train one")
    if about["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {about['format']}, this version of earmark reads up to {FORMAT}; update earmark"
        )
    return about, tensors


class TorchEngine:
    """A network behind NumPy's arrays, one recording at a time: all that a Tagger needs to know of PyTorch.

    Args:
        network: Is put into evaluation mode. Of its backbone the engine takes a copy: make another engine when its
            weights have changed.
        n_threads: Processors for each call, which PyTorch sets for the whole process; as it is when missing.
        precision: Of the convolutions. bf16 is faster where the processor has instructions for it, and changes scores
            in the third digit.
    """

    def __init__(
        self, network: Network, n_threads: int | None = None, precision: Literal["float32", "bf16"] = "float32"
    ) -> None:
        if n_threads is not None:
            torch.set_num_threads(n_threads)
        self.network = network.eval()
        self._backbone = FoldedBackbone(network.backbone, torch.bfloat16 if precision == "bf16" else torch.float32)
        self.labels = network.labels
        self.thresholds: Sequence[float] | None = network.thresholds
        self.clip_duration = network.clip_duration
        self.sample_rate = network.config.frontend.sample_rate
        self.samples_per_segment = network.backbone.frames_per_segment * network.config.frontend.hop_length
        self.halo = network.halo

    def encode(self, waveform: Float[np.ndarray, " sample"]) -> Float[np.ndarray, "segment channel"]:
        """Segments of one recording."""
        return self._numpy(self._encode, self._tensor(waveform)[None])[0]

    def classify(
        self, segments: Float[np.ndarray, "bag segment channel"], mask: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag label"]:
        """Logits of each bag of segments; True in the mask is a real segment."""
        return self._numpy(self.network.classify, self._tensor(segments), None if mask is None else self._tensor(mask))

    def pool(
        self, segments: Float[np.ndarray, "bag segment channel"], mask: Bool[np.ndarray, "bag segment"] | None = None
    ) -> Float[np.ndarray, "bag feature"]:
        """The pooled clip of each bag."""
        return self._numpy(self.network.pooling, self._tensor(segments), None if mask is None else self._tensor(mask))

    def attention(self, segments: Float[np.ndarray, "segment channel"]) -> Float[np.ndarray, "head segment"]:
        """Attention of each head over the whole recording.

        Raises:
            ConfigError: The pooling pays no attention.
        """
        return self._numpy(self.network.attention, self._tensor(segments)[None])[0]

    def _encode(self, waveform: Tensor) -> Tensor:
        segments: Tensor = self._backbone(self.network.frontend(waveform))
        return segments

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.network.device)

    def _numpy(self, stage: Any, *inputs: Tensor | None) -> np.ndarray:
        with torch.inference_mode():
            result: np.ndarray = stage(*inputs).float().cpu().numpy()
        return result
