"""What a training run is: every setting of it, and nothing that needs PyTorch."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from earmark.errors import ConfigError

if TYPE_CHECKING:
    from earmark.model.network import NetworkConfig
    from earmark.training.augmentation import SpecAugmentConfig

PoolingName = Literal["max", "mean", "max_mean", "attention", "attentive_stats", "gmap"]
BackboneName = Literal["cnn", "light"]
Schedule = Literal["cosine", "constant"]
Precision = Literal["auto", "float32", "bf16"]
Cache = Literal["auto", "log_mel", "none"]
Shuffle = Literal["clips", "blocks"]

_AT_LEAST: dict[str, float] = {
    "width": 1,
    "n_heads": 1,
    "n_clips_seen": 1,
    "clips_per_epoch": 1,
    "batch_size": 1,
    "weight_decay": 0,
    "gradient_clip": 0,
    "mixup_alpha": 0,
    "n_time_stripes": 0,
    "time_width": 0,
    "n_mel_stripes": 0,
    "mel_width": 0,
    "time_stretch": 0,
    "mel_shift": 0,
    "overlay_db": 0,
    "gain_db": 0,
    "equaliser_db": 0,
    "softmax_weight": 0,
    "cache_gib": 0,
    "n_workers": 0,
    "devices": 1,
    "num_nodes": 1,
    "seed": 0,
}
_UP_TO_ONE = ("overlay",)
_BELOW_ONE = ("block_dropout", "dropout", "warmup", "ema_decay")
_ABOVE_ZERO = ("learning_rate", "clip_duration", "hop_ms")
_CHOICES: dict[str, tuple[Any, ...]] = {
    "pooling": get_args(PoolingName),
    "backbone": get_args(BackboneName),
    "schedule": get_args(Schedule),
    "precision": get_args(Precision),
    "cache": get_args(Cache),
    "shuffle": get_args(Shuffle),
    "sample_rate": (32000, 16000),
}


@dataclass(frozen=True)
class TrainConfig:
    """Every setting of a training run; the defaults are the paper's network trained as PANNs were.

    A budget counts clips, not passes, so that runs on data sets of different sizes can be compared.
    """

    init: str | None = None
    """Start from the weights of this checkpoint (path or name) where they fit; front end and backbone are its own."""
    pooling: PoolingName = "gmap"
    """How the segments of a clip become one vector."""
    backbone: BackboneName = "cnn"
    """The paper's CNN, or a light one of its shape with a tenth of the multiplications."""
    width: int = 64
    """Channels of the backbone's first block; 64 is the paper's, 16 trains well on a laptop."""
    n_heads: int = 4
    """Heads of GMAP, a divisor of 8 times the width."""
    gate: bool = True
    """GMAP's gate (eq. 11)."""
    deviation: bool = True
    """GMAP's deviations beside the means (eq. 10)."""
    block_dropout: float = 0.2
    """Dropout after each block of the backbone."""
    dropout: float = 0.5
    """Dropout before the classifier."""
    sample_rate: Literal[32000, 16000] = 32000
    """Rate that recordings are brought to (Hz); 16000 is for recordings that hold nothing above 8 kHz."""
    n_mels: int = 64
    """Mel bins of the front end, a multiple of 16."""
    hop_ms: float = 25.0
    """Step from frame to frame of the front end (ms); a segment is 16 frames."""
    n_clips_seen: int = 48_000
    """The budget: clips shown to the network in the whole run, rounded up to whole batches."""
    clips_per_epoch: int | None = None
    """Clips between two validations; by default those of the training set, from a 50th to a 10th of the budget."""
    batch_size: int = 32
    """Clips of one step."""
    learning_rate: float = 1e-3
    """Peak learning rate of Adam."""
    schedule: Schedule = "cosine"
    """What the learning rate does after its warm-up: fall to 0 along a cosine, or stay."""
    warmup: float = 0.05
    """Share of the steps over which the learning rate first rises linearly."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW's); 0 is plain Adam."""
    gradient_clip: float = 0.0
    """Largest norm of the gradient; 0 leaves it as it is."""
    mixup_alpha: float = 1.0
    """Clips are blended in pairs with weights from Beta(alpha, alpha); 0 turns mixup off."""
    spec_augment: bool = True
    """Hide random stripes of time and frequency."""
    n_time_stripes: int = 2
    """SpecAugment's stripes of time a clip."""
    time_width: int = 26
    """Widest stripe of time (frames, of `hop_ms` each)."""
    n_mel_stripes: int = 2
    """SpecAugment's stripes of frequency a clip."""
    mel_width: int = 8
    """Widest stripe of frequency (mel bins)."""
    wander: bool = False
    """Start each clip at a random moment and go round; with the two below, at another speed and pitch."""
    time_stretch: float = 0.0
    """Largest change of speed when clips wander: 0.2 is 1/1.2 to 1.2 times as fast."""
    mel_shift: float = 0.0
    """Furthest shift in frequency when clips wander (mel bins)."""
    shortest_crop: float = 1.0
    """For clips of one sound: cut batches at random to this share of their length or more, around loud moments."""
    overlay: float = 0.0
    """Share of the clips over which another clip of the batch is laid, with its labels."""
    overlay_db: float = 10.0
    """How far the level of an overlaid clip lies above or below at most (dB)."""
    gain_db: float = 0.0
    """Largest random change of level, up or down (dB)."""
    equaliser_db: float = 0.0
    """Largest random change of the frequency response, up or down (dB)."""
    softmax_weight: float = 0.0
    """Weight of a softmax cross entropy over the labels beside the binary one; helps where clips have one label."""
    shuffle: Shuffle = "clips"
    """What is shuffled: clips, or blocks of neighbours, each read from end to end, for packs on spinning disks."""
    balanced: bool = True
    """Draw labels equally often, rather than clips."""
    ema_decay: float = 0.999
    """Decay of the moving average of the weights, which is what is validated and saved; 0 turns it off."""
    clip_duration: float = 10.0
    """Longer clips are cropped at random to this length (s) in training; shorter ones stay as they are."""
    allow_unlabelled: bool = False
    """Take clips without any label as examples of nothing, rather than refuse them."""
    skip_bad: bool = False
    """Go on without the clips that cannot be read; `run.json` names them."""
    precision: Precision = "auto"
    """bf16 is mixed precision (the front end and the loss stay float32); auto takes it where the hardware has it."""
    compiled: bool = False
    """Compile the backbone's blocks (`torch.compile`): faster on a GPU after a minute or two of preparation."""
    cache: Cache = "auto"
    """Keep all log-mels in memory, computed once; auto does so if they fit into `cache_gib`."""
    cache_gib: float = 4.0
    """Most memory that `cache="auto"` takes (GiB)."""
    n_workers: int | None = None
    """Readers of audio beside the main process; as many as there are processors, at most 8, when not given."""
    seed: int = 0
    """Everything random follows from it: weights, order, crops, augmentation, dropout."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps; auto takes a GPU if there is one."""
    devices: int = 1
    """GPUs of this machine that share each step's clips, one process each; on the CPU, processes."""
    num_nodes: int = 1
    """Machines that share each step's clips; all run the same command, with MASTER_ADDR, MASTER_PORT and NODE_RANK."""
    sync_batch_norm: bool = False
    """Batch norm over the clips of all devices rather than of each; for few clips a device."""
    freeze_batch_norm: bool = False
    """Leave batch norm's statistics as they are; for going on from a checkpoint with few clips."""

    def __post_init__(self) -> None:
        self._check_kinds()
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                listed = ", ".join(map(str, choices))
                raise ConfigError(f"{name}: one of {listed} was expected, not {getattr(self, name)!r}")
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name}: {least} or more was expected, not {value}")
        for name in _UP_TO_ONE:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name}: a share from 0 to 1 was expected, not {getattr(self, name)}")
        if not 0 < self.shortest_crop <= 1:
            raise ConfigError(f"shortest_crop: a share above 0, 1 at most, was expected, not {self.shortest_crop}")
        for name in _BELOW_ONE:
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name}: a number from 0 up to 1 was expected, not {getattr(self, name)}")
        for name in _ABOVE_ZERO:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name}: a number above 0 was expected, not {getattr(self, name)}")
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise ConfigError(f"device: auto, cpu, cuda, cuda:N or mps was expected, not {self.device!r}")
        if self.shuffle == "blocks" and self.balanced:
            raise ConfigError(
                "shuffle: blocks are read as they lie, so labels cannot be drawn equally often; set balanced off"
            )
        self._check_devices()
        # whatever the width says here, it is that of the checkpoint where there is one
        if self.init is None and self.pooling == "gmap" and 8 * self.width % self.n_heads:
            raise ConfigError(
                f"n_heads: a divisor of the {8 * self.width} channels of a segment (8 times the width) was expected, "
                f"not {self.n_heads}"
            )

    def _check_devices(self) -> None:
        n = self.devices * self.num_nodes
        if n == 1:
            return
        if self.device == "mps" or ":" in self.device:
            raise ConfigError(
                f"devices: {n} processes share cpu or cuda, not {self.device}; leave out the device's number"
            )
        if self.batch_size % n:
            raise ConfigError(
                f"batch_size: a multiple of the {n} devices was expected, not {self.batch_size}; it counts the clips "
                "of a step on all of them"
            )

    def _check_kinds(self) -> None:
        # a JSON file may hold anything; "0.5" or true where a number is meant would fail far from here
        for entry in fields(self):
            value, default = getattr(self, entry.name), entry.default
            if value is None and (default is None):
                continue
            kind = str if entry.name == "init" else int if default is None else type(default)
            fits = isinstance(value, bool) == (kind is bool) and isinstance(
                value, (int, float) if kind is float else kind
            )
            if not fits or (isinstance(value, float) and not math.isfinite(value)):
                noun = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[kind]
                raise ConfigError(f"{entry.name}: {noun} was expected, not {value!r}")

    def to_json(self) -> dict[str, Any]:
        """The settings as plain JSON values, one key a field."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """The config that `to_json` wrote; keys left out keep their defaults.

        >>> TrainConfig.from_json({"width": 16}).width
        16
        >>> TrainConfig.from_json({"widht": 16})
        Traceback (most recent call last):
        earmark.errors.ConfigError: a TrainConfig has no setting 'widht'; did you mean 'width'?

        Raises:
            ConfigError: A key is unknown, or a value outside what it can be.
        """
        import difflib

        names = [entry.name for entry in fields(cls)]
        for key in values:
            if key not in names:
                close = difflib.get_close_matches(str(key), names, n=1)
                advice = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(names)}"
                raise ConfigError(f"a TrainConfig has no setting {key!r}; {advice}")
        return cls(**values)

    def network_config(self, start: "NetworkConfig | None" = None) -> "NetworkConfig":
        """The network that these settings describe.

        Args:
            start: What the checkpoint of `init` holds, where that has been read.

        Raises:
            CheckpointError: The checkpoint of `init` cannot be read.
            ConfigError: A setting that is not at its default contradicts the checkpoint.
        """
        from earmark.model.frontend import FrontendConfig
        from earmark.model.network import NetworkConfig

        if self.init is None:
            frontend = FrontendConfig() if self.sample_rate == 32000 else FrontendConfig.at_16k()
            hop_length = round(self.hop_ms * self.sample_rate / 1000)
            frontend = replace(frontend, n_mels=self.n_mels, hop_length=hop_length)
            base = NetworkConfig(frontend, backbone=self.backbone, width=self.width)
        else:
            from earmark.hub import load_network

            base = start or load_network(self.init).config
            self._check_agreement(base)
        return replace(
            base,
            pooling=self.pooling,
            n_heads=self.n_heads,
            gate=self.gate,
            deviation=self.deviation,
            block_dropout=self.block_dropout,
            dropout=self.dropout,
        )

    def _check_agreement(self, start: "NetworkConfig") -> None:
        frontend = start.frontend
        taken: dict[str, Any] = {
            "backbone": start.backbone,
            "width": start.width,
            "sample_rate": frontend.sample_rate,
            "n_mels": frontend.n_mels,
            "hop_ms": 1000 * frontend.hop_length / frontend.sample_rate,
        }
        for entry in fields(self):
            asked = getattr(self, entry.name)
            # nobody can tell whether a default was asked for
            if entry.name in taken and asked not in (entry.default, taken[entry.name]):
                raise ConfigError(
                    f"{entry.name}: {_plain(taken[entry.name])} was expected, as in {self.init}, whose front end and "
                    f"backbone are taken, not {_plain(asked)}; leave it out, or start without init"
                )

    def spec_augment_config(self) -> "SpecAugmentConfig | None":
        """SpecAugment's stripes, or None when it is off."""
        from earmark.training.augmentation import SpecAugmentConfig

        if not self.spec_augment:
            return None
        return SpecAugmentConfig(self.n_time_stripes, self.time_width, self.n_mel_stripes, self.mel_width)


def _plain(value: int | float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


@dataclass(frozen=True)
class Plan:
    """The steps of a run, counted in clips: all that the step number alone decides.

    >>> plan = Plan.of(TrainConfig(n_clips_seen=10_000, batch_size=32), n_clips=640)
    >>> plan.n_steps, plan.steps_per_epoch, plan.n_epochs
    (313, 20, 16)
    """

    n_steps: int
    """Steps of the whole run."""
    steps_per_epoch: int
    """Steps from one validation to the next; the last epoch may be shorter."""
    batch_size: int
    """Clips of every step; no batch is smaller, batch norm would suffer."""
    n_warmup_steps: int
    """Steps over which the learning rate rises."""

    @classmethod
    def of(cls, config: TrainConfig, n_clips: int) -> "Plan":
        """The plan of `config` for a training set of `n_clips` clips."""
        n_steps = -(-config.n_clips_seen // config.batch_size)
        usual = max(config.n_clips_seen / 50, min(n_clips, config.n_clips_seen / 10))
        per_epoch = max(1, round((config.clips_per_epoch or usual) / config.batch_size))
        return cls(n_steps, min(per_epoch, n_steps), config.batch_size, round(config.warmup * n_steps))

    @property
    def n_epochs(self) -> int:
        return -(-self.n_steps // self.steps_per_epoch)

    def ends_epoch(self, n_steps_done: int) -> bool:
        """Whether an epoch is over after so many steps."""
        return n_steps_done % self.steps_per_epoch == 0 or n_steps_done == self.n_steps

    def learning_rate(self, step: int, config: TrainConfig) -> float:
        """Learning rate of the step (counted from 0)."""
        if step < self.n_warmup_steps:
            return config.learning_rate * (step + 1) / self.n_warmup_steps
        if config.schedule == "constant":
            return config.learning_rate
        progress = (step - self.n_warmup_steps) / max(1, self.n_steps - self.n_warmup_steps)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
