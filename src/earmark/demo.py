"""The main job on made-up sounds: learn when sounds happen from clips that only say what sounds in them."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from earmark.audio.recording import save_audio
from earmark.data.clips import Clip, Dataset, check_disjoint
from earmark.data.soundscapes import SoundscapeConfig, TruthEvent, mix_soundscapes
from earmark.data.synthetic import synthetic_bank
from earmark.errors import ConfigError
from earmark.evaluation.report import Report, evaluate
from earmark.inference.tagger import Event, Tagger, Timeline
from earmark.inference.torch_engine import TorchEngine
from earmark.model.frontend import mel_edges
from earmark.model.network import Network
from earmark.plots import Span, Spectrogram, plot_scene, require_matplotlib
from earmark.training import TrainConfig, TrainingInterrupted, train
from earmark.training.settings import PoolingName

POOLINGS: Final[Mapping[str, PoolingName]] = {"GMAP": "gmap", "mean pooling": "mean"}
"""What is compared: the name people read, and that of the pooling."""
_WINDOW: Final = 0.8
_HOP: Final = 0.4
_THRESHOLD: Final = 0.5


@dataclass(frozen=True)
class DemoConfig:
    """How much work the demo is; the defaults take about two minutes on two processors."""

    n_sounds: int = 80
    """Made-up sounds a label, a quarter of which the networks never hear in training."""
    n_train_clips: int = 2000
    """Different weakly labelled clips to learn from."""
    n_test_clips: int = 300
    """Clips of unheard sounds to measure on."""
    n_clips_seen: int = 7200
    """Clips shown to each network."""
    width: int = 10
    """Channels of the backbone's first block."""
    duration: float = 6.0
    """Seconds a clip."""
    event_duration: tuple[float, float] = (0.15, 0.5)
    """Shortest and longest event in seconds."""
    scene_duration: float = 10.0
    """Seconds of the scene that is tagged at the end."""
    scene_event_duration: tuple[float, float] = (0.8, 2.0)
    """Shortest and longest event in it; long enough to be seen in a picture."""
    n_scene_events: int = 4
    """Events in it."""

    def __post_init__(self) -> None:
        for name in ("n_train_clips", "n_test_clips", "n_clips_seen", "width", "n_scene_events"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}: a positive whole number was expected, not {getattr(self, name)}")

    def soundscapes(self, seed: int) -> SoundscapeConfig:
        """Clips in which few and short sounds happen, some of them hardly louder than the background."""
        return SoundscapeConfig(
            sample_rate=16000,
            duration=self.duration,
            event_duration=self.event_duration,
            n_events=(1, 3),
            snr_db=(0.0, 20.0),
            seed=seed,
        )

    def training(self, pooling: PoolingName, seed: int) -> TrainConfig:
        """The same for each pooling; so short a run needs neither mixup nor SpecAugment, but a quick average."""
        return TrainConfig(
            pooling=pooling,
            width=self.width,
            sample_rate=16000,
            n_clips_seen=self.n_clips_seen,
            batch_size=16,
            learning_rate=1.5e-3,
            mixup_alpha=0.0,
            spec_augment=False,
            dropout=0.2,
            block_dropout=0.0,
            ema_decay=0.98,
            clip_duration=self.duration,
            cache="log_mel",
            device="cpu",
            precision="float32",
            seed=seed,
        )


@dataclass(frozen=True, eq=False)
class DemoResult:
    """What came out, by the name of the pooling."""

    reports: Mapping[str, Report]
    """Figures on clips mixed of unheard sounds."""
    truth: tuple[TruthEvent, ...]
    """When the sounds of the scene happen."""
    heard: Mapping[str, tuple[Event, ...]]
    """When each tagger says that they do."""
    scene: Path
    """The scene itself."""
    picture: Path
    checkpoints: Mapping[str, Path]

    def show(self, console: Console) -> None:
        """Prints the figures, then when the sounds of the scene happened and when they were heard."""
        console.print("Clips mixed of sounds never heard in training:")
        figures = Table("pooling", "mAP", "95 % interval", "mAUC")
        for name, report in self.reports.items():
            low, high = report.mAP_interval
            figures.add_row(name, f"{report.mAP:.3f}", f"{low:.3f} to {high:.3f}", f"{report.mAUC:.3f}")
        console.print(figures)
        console.print(f"A scene of unheard sounds, {self.scene}: seconds of each sound, and when it was heard (score)")
        scene = Table("sound", "truth", *self.heard)
        for row in self.rows():
            scene.add_row(*row)
        console.print(scene)
        console.print(f"Picture: {self.picture}")
        console.print(f"Go on: earmark tag {self.scene} --model {next(iter(self.checkpoints.values()))}")

    def rows(self) -> list[tuple[str, ...]]:
        """A row for each sound of the scene, then one for each label that was heard where it is not."""
        rows = []
        for event in self.truth:
            found = ([e for e in events if _agree(e, event)] for events in self.heard.values())
            rows.append((event.label, _seconds(event), *(_listed(events) or "not heard" for events in found)))
        wrong = {
            name: [e for e in events if not any(_agree(e, event) for event in self.truth)]
            for name, events in self.heard.items()
        }
        for label in sorted({event.label for events in wrong.values() for event in events}):
            found = ([e for e in events if e.label == label] for events in wrong.values())
            rows.append((label, "not there", *(_listed(events) for events in found)))
        return rows

    def to_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {
            "reports": {name: report.to_json() for name, report in self.reports.items()},
            "truth": [{"label": e.label, "onset": e.onset, "offset": e.offset} for e in self.truth],
            "heard": {
                name: [{"label": e.label, "onset": e.onset, "offset": e.offset, "score": e.score} for e in events]
                for name, events in self.heard.items()
            },
            "scene": str(self.scene),
            "picture": str(self.picture),
            "checkpoints": {name: str(path) for name, path in self.checkpoints.items()},
        }


def run_demo(out: Path, seed: int = 0, *, config: DemoConfig | None = None, progress: bool = True) -> DemoResult:
    """Make sounds, mix weakly labelled clips of them, learn from those, and hear a scene of sounds never heard.

    GMAP and mean pooling learn from the same clips with the same budget. `out` receives the scene, the picture and both
    networks; files of an earlier demo are replaced.

    Args:
        out: A folder, made when missing.
        seed: Everything follows from it: sounds, clips, training.
        config: How much work to do; about two minutes of it when missing.
        progress: Draw progress bars on standard error.

    Raises:
        EarmarkError: matplotlib or Lightning is not installed, or a setting is outside what it can be.
        OSError: The folder cannot be written.
    """
    require_matplotlib()
    config = config or DemoConfig()
    out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True, quiet=not progress)
    bank = synthetic_bank(config.n_sounds, seed)
    train_set = _mixed(bank, "train", config.soundscapes(3 * seed), config.n_train_clips, console)
    test_set = _mixed(bank, "test", config.soundscapes(3 * seed + 1), config.n_test_clips, console)
    check_disjoint(train_set, test_set)

    reports, taggers, checkpoints = {}, {}, {}
    for name, pooling in POOLINGS.items():
        console.print(f"{name}: learning from {config.n_train_clips} clips that say what sounds in them, not when")
        network = _trained(config.training(pooling, seed), train_set, out, progress)
        checkpoints[name] = out / f"{pooling}.safetensors"
        network.save(checkpoints[name])
        with _bar(f"{name}: measuring", console) as show:
            reports[name] = evaluate(network, test_set, progress=show, model=name)
        taggers[name] = Tagger(TorchEngine(network))

    clip, truth = _scene(bank, config, 3 * seed + 2)
    scene, picture = out / "scene.flac", out / "demo.png"
    save_audio(scene, clip.load(16000))
    timelines = {name: tagger.timeline(scene, window=_WINDOW, hop=_HOP) for name, tagger in taggers.items()}
    heard = {name: tuple(timeline.events(_THRESHOLD, release=1.0)) for name, timeline in timelines.items()}
    network = Network.load(checkpoints["GMAP"])
    _draw(picture, clip, network, timelines, truth, heard["GMAP"])
    return DemoResult(reports, truth, heard, scene, picture, checkpoints)


def _mixed(bank: Dataset, split: str, config: SoundscapeConfig, n_clips: int, console: Console) -> Dataset:
    with _bar(f"mixing clips to {split}", console) as show:
        sounds = bank.select(splits=[split])
        return mix_soundscapes(sounds, config, n_clips, split=split, progress=show).dataset


def _trained(config: TrainConfig, data: Dataset, out: Path, progress: bool) -> Network:
    # a demo that is run again starts anew: nothing of the run is kept but its network
    with tempfile.TemporaryDirectory(prefix=".run-", dir=out) as folder:
        try:
            result = train(config, data, Path(folder) / "run", progress=progress)
        except TrainingInterrupted:
            raise KeyboardInterrupt from None
        return Network.load(result.last)


def _scene(bank: Dataset, config: DemoConfig, seed: int) -> tuple[Clip, tuple[TruthEvent, ...]]:
    settings = replace(
        config.soundscapes(seed),
        duration=config.scene_duration,
        event_duration=config.scene_event_duration,
        n_events=(config.n_scene_events, config.n_scene_events),
    )
    mixed = mix_soundscapes(bank.select(splits=["test"]), settings, 1)
    return mixed.dataset[0], tuple(mixed.truth)


def _draw(
    path: Path,
    clip: Clip,
    network: Network,
    timelines: Mapping[str, Timeline],
    truth: Sequence[TruthEvent],
    heard: Sequence[Event],
) -> None:
    frontend = network.config.frontend
    waveform = clip.load(frontend.sample_rate).waveform
    with torch.inference_mode():
        log_mel = network.frontend(torch.from_numpy(waveform)[None])[0].numpy()
    engine = TorchEngine(network)
    plot_scene(
        path,
        Spectrogram(log_mel, mel_edges(frontend)[1:-1], frontend.seconds_per_frame),
        timelines,
        labels=list(dict.fromkeys([*(e.label for e in truth), *(e.label for e in heard)])),
        attention=engine.attention(engine.encode(waveform)),
        seconds_per_segment=network.seconds_per_segment,
        truth=[Span(event.label, event.onset, event.offset) for event in truth],
        threshold=_THRESHOLD,
        title="Sounds never heard in training; the network learned from clips that said what sounds, not when",
    )


def _agree(heard: Event, truth: TruthEvent) -> bool:
    return heard.label == truth.label and heard.onset < truth.offset and truth.onset < heard.offset


def _seconds(event: Event | TruthEvent) -> str:
    return f"{event.onset:.1f} - {event.offset:.1f}"


def _listed(events: Sequence[Event]) -> str:
    return ", ".join(f"{_seconds(event)} ({event.score:.2f})" for event in events)


@contextmanager
def _bar(doing: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=console.quiet) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
