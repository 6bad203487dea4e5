"""The four stages as one network, and its checkpoint of one file."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Final

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as as_safetensors
from torch import Tensor, nn

from earmark.errors import CheckpointError, ConfigError, DataError, Limit, check_settings
from earmark.labels import LabelSet
from earmark.model.backbone import BACKBONES
from earmark.model.frontend import FrontendConfig, LogMel
from earmark.model.pooling import POOLINGS, Pooling
from earmark.storage.files import atomic_write, utf8_name

FORMAT: Final = 1
"""Format number of checkpoints; a reader refuses a higher one."""


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture of a network; the defaults are the paper's GMAP."""

    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    """Settings of the front end, waveform to log-mel."""
    backbone: str = "cnn"
    """Name of the backbone, a key of `BACKBONES`; cnn is the paper's."""
    width: Annotated[int, Limit(at_least=1)] = 64
    """Channels of the backbone's first block, an eighth of a segment's."""
    partial_segments: bool = True
    """Whether the last frames of a clip, if too few for a whole segment, form a partial one; PANNs drop them."""
    pooling: str = "gmap"
    """Name of the pooling, a key of `POOLINGS`."""
    n_heads: Annotated[int, Limit(at_least=1)] = 4
    """Number of GMAP's attention heads; other poolings ignore it."""
    gate: bool = True
    """Whether GMAP has its gate (eq. 11)."""
    deviation: bool = True
    """Whether GMAP pools deviations in addition to means (eq. 10)."""
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
        if "n_heads" in POOLINGS[self.pooling].settings and 8 * self.width % self.n_heads:
            raise ConfigError(
                f"a divisor of the {8 * self.width} channels of a segment was expected, not {self.n_heads}", "n_heads"
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "NetworkConfig":
        """The config that `to_json` converted.

        Raises:
            ConfigError: A key is unknown or a value is invalid.
        """
        frontend = _known(FrontendConfig, values.get("frontend", {}))
        return cls(**{**_known(cls, values), "frontend": FrontendConfig(**frontend)})


def _known(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    names = [f.name for f in fields(cls)]
    if unknown := sorted(set(values) - set(names)):
        raise ConfigError(f"{cls.__name__} has no {', '.join(unknown)}; it has {', '.join(names)}")
    return values


class Network(nn.Module):
    """Waveform to logits in four stages: front end, backbone, pooling, classifier.

    Args:
        config: The architecture; weights are random.
        labels: The label of each logit.
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
        pooling = POOLINGS[config.pooling]
        self.pooling: Pooling[Any] = pooling(n_channels, **{name: getattr(config, name) for name in pooling.settings})
        hidden, last = nn.Linear(self.pooling.n_features, n_channels), nn.Linear(n_channels, len(labels))
        for layer in (hidden, last):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.classifier = nn.Sequential(nn.Dropout(config.dropout), hidden, nn.ReLU(), last)
        # convolutions run 1.5 times as fast with channels last, on CPUs and GPUs
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def n_parameters(self) -> int:
        return sum(p.numel() for p in self.parameters())

    @property
    def seconds_per_segment(self) -> float:
        return self.backbone.frames_per_segment * self.config.frontend.seconds_per_frame

    @property
    def halo(self) -> int:
        """Number of segments on either side that a segment's value depends on, including the Fourier window."""
        frontend = self.config.frontend
        # the window of the first frames reaches into the mirrored start
        n_frames = self.backbone.halo + -(-(frontend.n_fft // 2) // frontend.hop_length)
        return -(-n_frames // self.backbone.frames_per_segment)

    @property
    def clip_duration(self) -> float | None:
        """Length of the training clips in seconds; None if the checkpoint does not state it."""
        seconds = self.extra.get("clip_duration")
        return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None

    def forward(
        self, waveform: Float[Tensor, "batch sample"], n_samples: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch label"]:
        """Logits of each clip. In evaluation mode they do not depend on the other clips of the batch.

        Args:
            waveform: Mono, at `config.frontend.sample_rate`; shorter clips are padded at their end.
            n_samples: Samples of each clip before padding; all of them when missing.
        """
        segments = self.encode(waveform, n_samples)
        return self.classify(segments, self.segment_mask(n_samples, segments.shape[1]))

    def encode(
        self, waveform: Float[Tensor, "batch sample"], n_samples: Int[Tensor, " batch"] | None = None
    ) -> Float[Tensor, "batch segment channel"]:
        """Segments of each clip, `seconds_per_segment` apart: the expensive part, run once."""
        log_mel = self.frontend(waveform, n_samples)
        segments: Tensor = self.backbone(log_mel, None if n_samples is None else self.frontend.n_frames(n_samples))
        return segments

    def classify(
        self, segments: Float[Tensor, "batch segment channel"], mask: Bool[Tensor, "batch segment"] | None = None
    ) -> Float[Tensor, "batch label"]:
        """Logits of each bag of segments: the cheap part, run for any subset. True in `mask` is a real segment."""
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
        """Logits from log-mels, which training augments."""
        segments = self.backbone(log_mel, n_frames)
        mask = None if n_frames is None else self._mask_of_frames(n_frames, segments.shape[1])
        return self.classify(segments, mask)

    def _mask_of_frames(self, n_frames: Tensor, n_segments: int) -> Tensor | None:
        real = self.backbone.n_segments(n_frames)
        if bool((real == n_segments).all()):  # tested on the CPU: a test on the GPU would make the CPU wait
            return None
        return torch.arange(n_segments, device=self.device) < real.to(self.device)[:, None]

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def save(self, path: Path | str, extra: dict[str, Any] | None = None) -> None:
        """Writes the checkpoint: one self-describing `.safetensors` file, whole or not at all.

        Args:
            path: The file.
            extra: Facts to store with the weights (training data, seed, ...), plain JSON; `self.extra` when missing.

        Raises:
            OSError: The file cannot be written, for example because the disk is full.
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
            # from memory: the writers of safetensors raise their own errors on a full disk, not OSError
            temporary.write_bytes(as_safetensors(tensors, metadata={"earmark": json.dumps(about)}))

    @staticmethod
    def load(path: Path | str) -> "Network":
        """The network of a checkpoint, in evaluation mode, on the CPU.

        Raises:
            CheckpointError: The file is missing, damaged, of a later format, or not an earmark checkpoint.
        """
        about, tensors = _read_checkpoint(Path(path))
        try:
            labels = LabelSet(tuple(about["labels"]["names"]), tuple(about["labels"]["ids"]))
            network = Network(NetworkConfig.from_json(about["network"]), labels)
            network.load_state_dict(tensors)
        except (KeyError, TypeError, RuntimeError, ConfigError, DataError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{path}: its weights do not match its description ({reason})") from error
        if about.get("thresholds") is not None:
            network.thresholds = tuple(float(threshold) for threshold in about["thresholds"])
        network.extra = about.get("extra") or {}
        return network.eval()


def _read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; a checkpoint written by `earmark train` was expected")
    try:
        with utf8_name(path) as name, safe_open(name, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("earmark", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable .safetensors file ({error})") from error
    if not isinstance(about, dict) or not isinstance(about.get("format"), int):
        raise CheckpointError(
            f"{path}: not an earmark checkpoint: its metadata has no description; train one with `earmark train`"
        )
    if about["format"] > FORMAT:
        raise CheckpointError(
            f"{path}: checkpoint format {about['format']}, this version of earmark reads up to {FORMAT}; update earmark"
        )
    return about, tensors
