"""The four stages as one network, and its checkpoint of one file."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Final

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from earmark.errors import CheckpointError, ConfigError, DataError, Limit, check_settings
from earmark.labels import LabelSet
from earmark.model.backbones import BACKBONES
from earmark.model.frontend import FrontendConfig, LogMel
from earmark.model.head import FORMAT, Head, HeadConfig, Stages
from earmark.model.head_settings import HeadSettings
from earmark.storage.files import utf8_name

_ENCODER: Final = ("frontend.", "backbone.")
"""Beginnings of the names of the weights that segments depend on."""
_ENCODER_SETTINGS: Final = ("frontend", "backbone", "width", "partial_segments")


@dataclass(frozen=True)
class NetworkConfig(HeadSettings):
    """Architecture of a network; the defaults are the paper's GMAP."""

    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    """Settings of the front end, waveform to log-mel."""
    backbone: str = "cnn"
    """Name of the backbone, a key of `BACKBONES`; cnn is the paper's."""
    width: Annotated[int, Limit(at_least=1)] = 64
    """Channels of the first block, of which 64 are the paper's and PANNs'; percent of MobileNetV3-Large for mn."""
    partial_segments: bool = True
    """Whether the last frames of a clip, if too few for a whole segment, form a partial one; PANNs drop them."""
    block_dropout: Annotated[float, Limit(at_least=0, below=1)] = field(default=0.2, kw_only=True)
    """Dropout after each block of cnn and light, and after each layer of the perceptron."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.backbone not in BACKBONES:
            raise ConfigError(f"one of {', '.join(BACKBONES)} was expected, not {self.backbone!r}", "backbone")
        backbone = BACKBONES[self.backbone]
        if not (self.partial_segments or backbone.can_drop_frames):
            raise ConfigError(f"true was expected for the backbone {self.backbone!r}, not false", "partial_segments")
        if self.frontend.n_mels % backbone.mel_divisor:
            raise ConfigError(
                f"a multiple of {backbone.mel_divisor} was expected for the backbone {self.backbone!r}, not "
                f"{self.frontend.n_mels}",
                "n_mels",
            )
        if backbone.hop_length not in (None, self.frontend.hop_length):
            raise ConfigError(
                f"frames {backbone.hop_length} samples apart were expected for the backbone {self.backbone!r}, not "
                f"{self.frontend.hop_length}",
                remedy={"hop_ms": 1000 * backbone.hop_length / self.frontend.sample_rate},
            )
        self.head_config(backbone.channels_of(self.width))  # checks its settings

    def head_config(self, n_channels: int) -> HeadConfig:
        """The config of the stages after the backbone, for segments of this width."""
        return HeadConfig(n_channels, **{entry.name: getattr(self, entry.name) for entry in fields(HeadSettings)})

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


class Network(Stages):
    """Waveform to logits in four stages: front end, backbone, pooling, classifier.

    Args:
        config: The architecture; weights are random.
        labels: The label of each logit.
    """

    def __init__(self, config: NetworkConfig, labels: LabelSet) -> None:
        super().__init__(labels)
        self.config = config
        self.frontend = LogMel(config.frontend)
        self.backbone = BACKBONES[config.backbone](
            config.frontend.n_mels, config.width, config.block_dropout, config.partial_segments
        )
        self._add_head(config.head_config(self.backbone.n_channels))
        # convolutions run 1.5 times as fast with channels last, on CPUs and GPUs
        self.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def architecture(self) -> dict[str, Any]:
        return {"network": self.config.to_json()}

    @property
    def seconds_per_segment(self) -> float:
        return self.backbone.frames_per_segment * self.config.frontend.seconds_per_frame

    @property
    def halo(self) -> int | None:
        """Number of segments on either side that a segment's value depends on, including the Fourier window.

        None: it depends on the whole clip.
        """
        if self.backbone.halo is None:
            return None
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
        n_frames = None if n_samples is None else self.frontend.n_frames(n_samples)
        return self._segments(log_mel, n_frames, waveform, n_samples)

    def _segments(
        self, log_mel: Tensor, n_frames: Tensor | None, waveform: Tensor | None, n_samples: Tensor | None
    ) -> Tensor:
        beside = (waveform, n_samples) if self.backbone.takes_waveform else ()
        segments: Tensor = self.backbone(log_mel, n_frames, *beside)
        return segments

    def with_head(self, head: Head) -> "Network":
        """A network that encodes like this one and classifies like the head; thresholds and extra are the head's.

        Raises:
            ConfigError: The head takes segments of another width.
        """
        own = self.backbone.n_channels
        if head.config.n_channels != own:
            raise ConfigError(f"a head for segments of {own} channels was expected, not {head.config.n_channels}")
        taken = {name: value for name, value in asdict(head.config).items() if name != "n_channels"}
        config = replace(self.config, **{**taken, "block_dropout": self.config.block_dropout})
        with torch.random.fork_rng([]):  # its random weights are replaced
            joined = Network(config, head.labels)
        weights = {name: value for name, value in self.state_dict().items() if name.startswith(_ENCODER)}
        joined.load_state_dict(weights | head.state_dict())
        joined.thresholds, joined.extra = head.thresholds, dict(head.extra)
        return joined.to(self.device).eval()

    def encoder_sha256(self) -> str:
        """Hash of what the segments depend on: front end and backbone, config and weights."""
        config = {name: value for name, value in self.config.to_json().items() if name in _ENCODER_SETTINGS}
        digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
        for name, value in sorted(self.state_dict().items()):
            if name.startswith(_ENCODER):
                digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def segment_mask(
        self, n_samples: Int[Tensor, " batch"] | None, n_segments: int
    ) -> Bool[Tensor, "batch segment"] | None:
        """True = a segment of the clip itself; None when no clip is padded."""
        if n_samples is None:
            return None
        return self._mask_of_frames(self.frontend.n_frames(n_samples), n_segments)

    def logits_from_log_mel(
        self,
        log_mel: Float[Tensor, "batch frame mel"],
        n_frames: Int[Tensor, " batch"] | None = None,
        waveform: Float[Tensor, "batch sample"] | None = None,
        n_samples: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch label"]:
        """Logits from log-mels, which training augments; from waveforms too, where the backbone takes them."""
        segments = self._segments(log_mel, n_frames, waveform, n_samples)
        mask = None if n_frames is None else self._mask_of_frames(n_frames, segments.shape[1])
        return self.classify(segments, mask)

    def _mask_of_frames(self, n_frames: Tensor, n_segments: int) -> Tensor | None:
        real = self.backbone.n_segments(n_frames)
        if bool((real == n_segments).all()):  # tested on the CPU: a test on the GPU would make the CPU wait
            return None
        return torch.arange(n_segments, device=self.device) < real.to(self.device)[:, None]

    @staticmethod
    def load(path: Path | str) -> "Network":
        """The network of a checkpoint, in evaluation mode, on the CPU.

        Raises:
            CheckpointError: The file is missing, damaged, of a later format, or not an earmark checkpoint.
        """
        stages = load_stages(path)
        if not isinstance(stages, Network):
            name = (stages.extra.get("encoder") or {}).get("name", "their encoder")
            raise CheckpointError(
                f"{path}: a head for segments of {stages.config.n_channels} channels without the encoder that makes "
                f"them ({name}); it cannot score recordings, only encoded segments: segments:DIR or "
                "audioset-features:DIR. To tag recordings, encode clips with a .safetensors checkpoint and train again"
            )
        return stages


def load_stages(path: Path | str) -> Head | Network:
    """The network or the head of a checkpoint, in evaluation mode, on the CPU.

    Raises:
        CheckpointError: The file is missing, damaged, of a later format, or not an earmark checkpoint.
    """
    about, tensors = _read_checkpoint(Path(path))
    stages: Head | Network
    try:
        labels = LabelSet(tuple(about["labels"]["names"]), tuple(about["labels"]["ids"]))
        if "head" in about:
            stages = Head(HeadConfig(**_known(HeadConfig, about["head"])), labels)
        else:
            stages = Network(NetworkConfig.from_json(about["network"]), labels)
        stages.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, ConfigError, DataError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: its weights do not match its description ({reason})") from error
    if about.get("thresholds") is not None:
        stages.thresholds = tuple(float(threshold) for threshold in about["thresholds"])
    stages.extra = about.get("extra") or {}
    return stages.eval()


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
