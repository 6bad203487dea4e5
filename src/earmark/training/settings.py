"""The settings of a training run; needs no PyTorch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from earmark.errors import ConfigError, Limit, check_settings
from earmark.inference.engine import check_device_name
from earmark.model.head_settings import (
    AttentionFunction,
    ClassifierActivation,
    Count,
    Dropout,
    GroupSize,
    HeadSettings,
    OptionalWidth,
    PerceptronLayers,
    PoolingName,
    Sharpness,
    Width,
)
from earmark.training.choices import (
    BackboneName,
    Cache,
    Frozen,
    Precision,
    Schedule,
    Shuffle,
    Topic,
)
from earmark.training.conditions import RecordingConditions

if TYPE_CHECKING:
    from earmark.model.head import HeadConfig
    from earmark.model.network import NetworkConfig

HEAD: Final = tuple(entry.name for entry in fields(HeadSettings))
"""Settings of the architecture that a head has too."""
OF_ENCODER: Final = ("sample_rate", "backbone", "width", "n_mels", "hop_ms")
"""Settings of front end and backbone."""
OF_SOUND: Final = (
    *OF_ENCODER,
    "freeze_batch_norm",
    "random_shift_stretch",
    "time_stretch",
    "mel_shift",
    "shortest_crop",
    "mix_clips",
    "gain_db",
    "equalizer_db",
    "sync_batch_norm",
    "compiled",
)
"""Settings that a head on encoded clips cannot follow: the encoder's, those of its training and of its input."""


@dataclass(frozen=True)
class TrainConfig(RecordingConditions):
    """All settings of a training run; the defaults train the paper's network as PANNs were trained.

    The budget counts clips, not passes over the data, so that runs on data sets of different sizes are comparable.
    """

    sample_rate: Annotated[Literal[32000, 16000], Topic.DATA] = 32000
    """Sample rate of the network (Hz); recordings are resampled to it. Use 16000 if they have nothing above 8 kHz."""
    clip_duration: Annotated[float, Limit(above=0), Topic.DATA] = 10.0
    """Longest clip in training (s); longer clips are cropped at random, shorter ones stay as they are."""
    balanced: Annotated[bool, Topic.DATA] = True
    """Draw all labels equally often instead of all clips."""
    shuffle: Annotated[Shuffle, Topic.DATA] = "clips"
    """Shuffle single clips, or blocks of neighbours for packs on hard disks; each block is read from end to end."""
    allow_unlabelled: Annotated[bool, Topic.DATA] = False
    """Accept clips without labels as negative examples of all labels."""
    skip_bad: Annotated[bool, Topic.DATA] = False
    """Train without the clips that cannot be read; `run.json` lists them."""

    init: Annotated[str | None, Topic.NETWORK] = None
    """Checkpoint to start from (path or name); it sets the front end and the backbone; weights that fit are copied."""
    freeze: Annotated[Frozen, Topic.NETWORK] = "none"
    """backbone: encode all clips once by the checkpoint `init`, and train pooling and classifier on the segments."""
    encoded_crops: Annotated[int, Limit(at_least=1), Topic.NETWORK] = 1
    """With a frozen backbone, crops of each clip to encode: the whole clip, then random ones of half of it or more."""
    pooling: Annotated[PoolingName, Topic.NETWORK] = "gmap"
    """Poolings before instance_max pool the segments, then classify; the others classify each segment, then pool."""
    backbone: Annotated[BackboneName, Topic.NETWORK] = "cnn"
    """The paper's CNN, a light one, MobileNetV3 (mn), or one of PANNs; wavegram takes waveforms too (`hop_ms` 10)."""
    width: Annotated[Width, Topic.NETWORK] = 64
    """Channels of the first block: 64 in the paper and PANNs, 16 for a laptop; for mn percent of MobileNetV3-Large."""
    n_heads: Annotated[Count, Topic.NETWORK] = 4
    """Attention heads of GMAP; a divisor of 8 times the width."""
    gate: Annotated[bool, Topic.NETWORK] = True
    """Use GMAP's gate (eq. 11)."""
    deviation: Annotated[bool, Topic.NETWORK] = True
    """Use GMAP's standard deviations beside the means (eq. 10)."""
    attention_width: Annotated[Width, Topic.NETWORK] = 128
    """Width of the layers of gated_attention."""
    attention_function: Annotated[AttentionFunction, Topic.NETWORK] = "sigmoid"
    """Function that makes the weights of decision_attention, feature_attention and multi_level_attention."""
    n_levels: Annotated[Count, Topic.NETWORK] = 1
    """Layers of the perceptron, from the last one back, that multi_level_attention pools."""
    sharpness: Annotated[Sharpness, Topic.NETWORK] = 5.0
    """Sharpness of log_sum_exp: near the mean if small, near the maximum if large."""
    group_size: Annotated[GroupSize, Topic.NETWORK] = 3
    """Neighbouring segments in a group of hierarchical pooling."""
    classifier_layers: Annotated[Literal[1, 2], Topic.NETWORK] = 2
    """Layers of the classifier; the paper has 2."""
    classifier_norm: Annotated[bool, Topic.NETWORK] = False
    """Batch norm and a ReLU before the classifier, as in Kong et al. 2019."""
    classifier_activation: Annotated[ClassifierActivation, Topic.NETWORK] = "relu"
    """Activation between the classifier's two layers; hardswish, with the dropout behind it, is that of mn."""
    classifier_width: Annotated[OptionalWidth, Topic.NETWORK] = None
    """Width between the classifier's two layers; by default that of a segment."""
    block_dropout: Annotated[Dropout, Topic.NETWORK] = 0.2
    """Dropout after each block of cnn and light, and after each layer of the perceptron."""
    dropout: Annotated[Dropout, Topic.NETWORK] = 0.5
    """Dropout of the classifier."""
    perceptron_layers: Annotated[PerceptronLayers, Topic.NETWORK] = 0
    """Layers of a perceptron that each segment passes before the pooling; for released features."""
    perceptron_width: Annotated[Width, Topic.NETWORK] = 512
    """Width of these layers."""
    perceptron_norm: Annotated[bool, Topic.NETWORK] = False
    """Use batch norm in these layers."""
    n_mels: Annotated[int, Limit(at_least=16, multiple_of=16), Topic.NETWORK] = 64
    """Mel bins of the front end."""
    hop_ms: Annotated[float, Limit(above=0), Topic.NETWORK] = 25.0
    """Time from one frame to the next (ms); a segment has 16 frames."""

    n_clips_seen: Annotated[int, Limit(at_least=1), Topic.OPTIMISATION] = 48_000
    """Budget: clips shown to the network in the whole run, rounded up to whole batches."""
    clips_per_epoch: Annotated[int | None, Limit(at_least=1), Topic.OPTIMISATION] = None
    """Clips between two validations; by default one pass over the training set, within 1/50 to 1/10 of the budget."""
    batch_size: Annotated[int, Limit(at_least=1), Topic.OPTIMISATION] = 32
    """Clips per step, over all devices."""
    learning_rate: Annotated[float, Limit(above=0), Topic.OPTIMISATION] = 1e-3
    """Peak learning rate of Adam."""
    schedule: Annotated[Schedule, Topic.OPTIMISATION] = "cosine"
    """Learning rate after the warm-up: falls to 0 along a cosine, or stays constant."""
    warmup: Annotated[float, Limit(at_least=0, below=1), Topic.OPTIMISATION] = 0.05
    """Fraction of the steps in which the learning rate rises linearly from 0."""
    weight_decay: Annotated[float, Limit(at_least=0), Topic.OPTIMISATION] = 0.0
    """Decoupled weight decay (AdamW); 0 is plain Adam."""
    gradient_clip: Annotated[float, Limit(at_least=0), Topic.OPTIMISATION] = 0.0
    """Largest norm of the gradient; 0 turns clipping off."""
    ema_decay: Annotated[float, Limit(at_least=0, below=1), Topic.OPTIMISATION] = 0.999
    """Decay of the moving average of the weights, which is validated and saved; 0 turns averaging off."""
    softmax_weight: Annotated[float, Limit(at_least=0), Topic.OPTIMISATION] = 0.0
    """Weight of an additional softmax cross entropy over the labels; helps if each clip has one label."""
    freeze_batch_norm: Annotated[bool, Topic.OPTIMISATION] = False
    """Keep the statistics of batch norm; for fine-tuning a checkpoint on few clips."""
    seed: Annotated[int, Limit(at_least=0), Topic.OPTIMISATION] = 0
    """Seed of all randomness: initial weights, order of clips, crops, augmentation, dropout."""

    mixup_alpha: Annotated[float, Limit(at_least=0), Topic.AUGMENTATION] = 1.0
    """Mixup: blend pairs of clips with weights from Beta(alpha, alpha); 0 turns it off."""
    spec_augment: Annotated[bool, Topic.AUGMENTATION] = True
    """SpecAugment: hide random stripes of time and frequency."""
    n_time_stripes: Annotated[int, Limit(at_least=0), Topic.AUGMENTATION] = 2
    """SpecAugment's time stripes per clip."""
    time_width: Annotated[int, Limit(at_least=0), Topic.AUGMENTATION] = 26
    """Largest width of a time stripe (frames of `hop_ms`)."""
    n_mel_stripes: Annotated[int, Limit(at_least=0), Topic.AUGMENTATION] = 2
    """SpecAugment's frequency stripes per clip."""
    mel_width: Annotated[int, Limit(at_least=0), Topic.AUGMENTATION] = 8
    """Largest width of a frequency stripe (mel bins)."""
    random_shift_stretch: Annotated[bool, Topic.AUGMENTATION] = False
    """Random circular shift of each clip, with a time stretch and a pitch shift as set by the next two."""
    time_stretch: Annotated[float, Limit(at_least=0), Topic.AUGMENTATION] = 0.0
    """Largest time stretch: 0.2 plays a clip at 1/1.2 to 1.2 times its speed."""
    mel_shift: Annotated[float, Limit(at_least=0), Topic.AUGMENTATION] = 0.0
    """Largest pitch shift (mel bins)."""
    shortest_crop: Annotated[float, Limit(above=0, at_most=1), Topic.AUGMENTATION] = 1.0
    """Crop batches at random to this fraction of their length or more, around loud moments; for clips of one sound."""
    mix_clips: Annotated[float, Limit(at_least=0, at_most=1), Topic.AUGMENTATION] = 0.0
    """Fraction of the clips to which another clip of the batch is added, with its labels."""
    mix_clips_db: Annotated[float, Limit(at_least=0), Topic.AUGMENTATION] = 10.0
    """Largest difference in level between a clip and the one added to it (dB)."""
    gain_db: Annotated[float, Limit(at_least=0), Topic.AUGMENTATION] = 0.0
    """Largest random change of level, up or down (dB)."""
    equalizer_db: Annotated[float, Limit(at_least=0), Topic.AUGMENTATION] = 0.0
    """Largest random change of the frequency response, up or down (dB)."""

    segment_dropout: Annotated[float, Limit(at_least=0, below=1), Topic.AUGMENTATION] = 0.0
    """Fraction of the encoded segments to leave out of each clip, where a head is trained on segments."""

    device: Annotated[str, Topic.HARDWARE] = "auto"
    """auto, cpu, cuda, cuda:N or mps; auto takes a GPU if there is one."""
    devices: Annotated[int, Limit(at_least=1), Topic.HARDWARE] = 1
    """GPUs of this machine that share each step's clips, one process each; on the CPU, processes."""
    num_nodes: Annotated[int, Limit(at_least=1), Topic.HARDWARE] = 1
    """Machines that share each step's clips; all run the same command, with MASTER_ADDR, MASTER_PORT and NODE_RANK."""
    sync_batch_norm: Annotated[bool, Topic.HARDWARE] = False
    """Compute batch norm over the clips of all devices together; for few clips per device."""
    precision: Annotated[Precision, Topic.HARDWARE] = "auto"
    """bf16 is mixed precision (front end and loss stay float32); auto uses it where the hardware supports it."""
    compiled: Annotated[bool, Topic.HARDWARE] = False
    """Compile the backbone (`torch.compile`): faster on a GPU, after one or two minutes of compilation."""
    cache: Annotated[Cache, Topic.HARDWARE] = "auto"
    """Compute all log-mels once and keep them in memory; auto does so if they fit into `cache_gib`."""
    cache_gib: Annotated[float, Limit(at_least=0), Topic.HARDWARE] = 4.0
    """Largest memory for the log-mels where the cache is auto (GiB)."""
    n_workers: Annotated[int | None, Limit(at_least=0), Topic.HARDWARE] = None
    """Processes that read audio beside the main process; by default one per processor, at most 8."""

    def __post_init__(self) -> None:
        check_settings(self)
        check_device_name(self.device)
        if self.shuffle == "blocks" and self.balanced:
            raise ConfigError(
                "clips was expected where labels are drawn equally often, not blocks, which are read in their order; "
                "draw all clips equally often",
                "shuffle",
                remedy={"balanced": False},
            )
        self._check_devices()
        if self.n_variants == 0 and (self.background is not None or self.mix_share > 0):
            name = "mix_share" if self.background is None else "background"
            raise ConfigError(
                "at least one variant of each clip was expected with this setting", name, remedy={"n_variants": 1}
            )
        if self.freeze != "none" and self.init is None:
            raise ConfigError("a checkpoint whose backbone encodes the clips was expected, not none", "init")
        if self.freeze == "none" and self.encoded_crops > 1:
            raise ConfigError(
                "1 was expected where the backbone is trained, as clips are then cropped in each step",
                "encoded_crops",
                remedy={"freeze": "backbone"},
            )
        # where a checkpoint is given, its width counts
        n_channels = self.perceptron_width if self.perceptron_layers else 8 * self.width
        is_known = self.init is None and (self.backbone in ("cnn", "light") or self.perceptron_layers > 0)
        if is_known and self.pooling == "gmap" and n_channels % self.n_heads:
            origin = "the perceptron's width" if self.perceptron_layers else "8 times the width"
            raise ConfigError(
                f"a divisor of the {n_channels} channels of a segment ({origin}) was expected, not {self.n_heads}",
                "n_heads",
            )

    def _check_devices(self) -> None:
        n = self.devices * self.num_nodes
        if n == 1:
            return
        if self.device == "mps" or ":" in self.device:
            raise ConfigError(f"cpu or cuda was expected for {n} processes, not {self.device}", "device")
        if self.batch_size % n:
            raise ConfigError(
                f"a multiple of the {n} devices was expected, not {self.batch_size}; it counts the clips of a step on "
                "all of them",
                "batch_size",
            )

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON values, by field name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """The config from the values of `to_json`; missing keys keep their defaults.

        >>> TrainConfig.from_json({"width": 16}).width
        16
        >>> TrainConfig.from_json({"widht": 16})
        Traceback (most recent call last):
        earmark.errors.ConfigError: a setting of TrainConfig was expected, not 'widht'; did you mean 'width'?

        Raises:
            ConfigError: A key is unknown or a value is invalid.
        """
        names = [entry.name for entry in fields(cls)]
        for key in values:
            if key not in names:
                close = get_close_matches(str(key), names, n=1)
                advice = f"did you mean {close[0]!r}?" if close else f"the settings are {', '.join(names)}"
                raise ConfigError(f"a setting of TrainConfig was expected, not {key!r}; {advice}")
        return cls(**values)

    @property
    def n_readers(self) -> int:
        """Threads that decode the clips that are read once, before the training."""
        return 2 if self.n_workers is None else max(1, self.n_workers)

    def network_config(self, start: "NetworkConfig | None" = None) -> "NetworkConfig":
        """The config of the network.

        Args:
            start: Config of the checkpoint `init`, if it is known already.

        Raises:
            CheckpointError: The checkpoint of `init` cannot be read.
            ConfigError: A setting other than its default contradicts the checkpoint.
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
        return replace(base, **{name: getattr(self, name) for name in HEAD})

    def head_config(self, n_channels: int) -> "HeadConfig":
        """The config of a head for segments of this width.

        Raises:
            ConfigError: `n_heads` does not fit the width.
        """
        from earmark.model.head import HeadConfig

        return HeadConfig(n_channels, **{name: getattr(self, name) for name in HEAD})

    def _check_agreement(self, start: "NetworkConfig") -> None:
        frontend = start.frontend
        taken: dict[str, Any] = {
            "sample_rate": frontend.sample_rate,
            "backbone": start.backbone,
            "width": start.width,
            "n_mels": frontend.n_mels,
            "hop_ms": 1000 * frontend.hop_length / frontend.sample_rate,
        }
        for name, value in taken.items():
            asked = getattr(self, name)
            # a default may have been meant or not
            if asked not in (getattr(TrainConfig, name), value):
                raise ConfigError(
                    f"{_plain(value)} was expected, as in {self.init}, whose front end and backbone are taken, not "
                    f"{_plain(asked)}; take that value, or start without a checkpoint",
                    name,
                    remedy={name: value},
                )


def _plain(value: int | float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
