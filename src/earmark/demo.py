"""Demo on synthetic sounds: a network learns the times of sounds from clips with labels but without times."""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
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
from earmark.errors import EarmarkError
from earmark.evaluation.report import Report, evaluate
from earmark.inference.events import Event
from earmark.inference.tagger import Tagger
from earmark.inference.timeline import Timeline
from earmark.inference.torch_engine import TorchEngine
from earmark.model.frontend import mel_edges
from earmark.model.head_settings import PoolingName
from earmark.model.network import Network
from earmark.parallel.interrupts import sigterm_as_interrupt
from earmark.parallel.pool import Death, Pool
from earmark.parallel.processors import n_processors
from earmark.plots import Span, Spectrogram, plot_scene, require_matplotlib
from earmark.training import TrainConfig, TrainingInterrupted, train

POOLINGS: Final[Mapping[str, PoolingName]] = {"GMAP": "gmap", "mean pooling": "mean"}
"""The compared poolings: displayed name and name in `earmark.model.pooling.POOLINGS`."""
_CLIPS: Final = SoundscapeConfig(
    sample_rate=16000, duration=6.0, event_duration=(0.15, 0.5), n_events=(1, 3), snr_db=(0.0, 20.0)
)
_SCENE: Final = replace(_CLIPS, duration=10.0, event_duration=(0.8, 2.0), n_events=(4, 4))
_TRAINING: Final = TrainConfig(
    width=10,
    sample_rate=16000,
    n_clips_seen=7200,
    batch_size=16,
    learning_rate=1.5e-3,
    mixup_alpha=0.0,
    spec_augment=False,
    dropout=0.2,
    block_dropout=0.0,
    ema_decay=0.98,
    clip_duration=_CLIPS.duration,
    cache="log_mel",
    device="cpu",
    precision="float32",
)
_THRESHOLD: Final = 0.5
_SECONDS_PER_LINE: Final = 5.0


@dataclass(frozen=True)
class DemoConfig:
    """Size of the demo; the defaults take some minutes on two processors."""

    n_sounds: int = 80
    """Synthetic sounds per label; a quarter of them is kept for testing."""
    n_train_clips: int = 2000
    """Weakly labelled clips for training."""
    n_test_clips: int = 300
    """Clips of unseen sounds for testing."""
    clips: SoundscapeConfig = _CLIPS
    """Clips with few, short and partly quiet sounds."""
    scene: SoundscapeConfig = _SCENE
    """The scene that is tagged at the end; its events are long enough to be visible in the picture."""
    n_jobs: int = field(default_factory=lambda: min(len(POOLINGS), n_processors()))
    """Networks that are trained at the same time, each in a process of its own if there are several."""
    training: TrainConfig = _TRAINING
    """Training settings, equal for all poolings: for a short run, without mixup and SpecAugment."""


def _program() -> str:
    """The command as this shell finds it: by its path where its environment is not active."""
    path = Path(sys.argv[0])
    return "earmark" if path.name != "earmark" or shutil.which("earmark") else str(path)


@dataclass(frozen=True, eq=False)
class DemoResult:
    """Results of the demo, by the displayed name of the pooling."""

    reports: Mapping[str, Report]
    """Reports on clips of unseen sounds."""
    truth: tuple[TruthEvent, ...]
    """The true events of the scene."""
    events: Mapping[str, tuple[Event, ...]]
    """The events that each tagger detects in the scene."""
    scene: Path
    """The audio file of the scene."""
    picture: Path
    checkpoints: Mapping[str, Path]

    def show(self, console: Console) -> None:
        """Prints the metrics, then the true and the detected events of the scene."""
        console.print("Clips of sounds that were not in training:")
        figures = Table("pooling", "mAP", "95 % interval", "mAUC")
        for name, report in self.reports.items():
            low, high = report.mAP_interval
            figures.add_row(name, f"{report.mAP:.3f}", f"{low:.3f} to {high:.3f}", f"{report.mAUC:.3f}")
        console.print(figures)
        console.print(f"A scene of such sounds, {self.scene}: true times in seconds, and detected times (score)")
        scene = Table("sound", "truth", *self.events)
        for row in self.rows():
            scene.add_row(*row)
        console.print(scene)
        console.print(f"Picture: {self.picture}")
        console.print(f"Next: {_program()} tag {self.scene} --model {next(iter(self.checkpoints.values()))}")

    def rows(self) -> list[tuple[str, ...]]:
        """A row for each true event, then one for each label with false detections."""
        rows = []
        for event in self.truth:
            found = ([e for e in events if _overlap(e, event)] for events in self.events.values())
            rows.append(
                (event.label, _format_times(event), *(_format_events(events) or "not found" for events in found))
            )
        wrong = {
            name: [e for e in events if not any(_overlap(e, event) for event in self.truth)]
            for name, events in self.events.items()
        }
        for label in sorted({event.label for events in wrong.values() for event in events}):
            found = ([e for e in events if e.label == label] for events in wrong.values())
            rows.append((label, "not there", *(_format_events(events) for events in found)))
        return rows

    def to_json(self) -> dict[str, Any]:
        """The results as JSON values."""
        return {
            "reports": {name: report.to_json() for name, report in self.reports.items()},
            "truth": [{"label": e.label, "onset": e.onset, "offset": e.offset} for e in self.truth],
            "events": {name: [asdict(event) for event in events] for name, events in self.events.items()},
            "scene": str(self.scene),
            "picture": str(self.picture),
            "checkpoints": {name: str(path) for name, path in self.checkpoints.items()},
        }


def run_demo(out: Path, seed: int = 0, *, config: DemoConfig | None = None, progress: bool = True) -> DemoResult:
    """Makes sounds, mixes weakly labelled clips of them, trains on the clips and tags a scene of unseen sounds.

    GMAP and mean pooling are trained on the same clips with the same budget. The scene, the picture and both networks
    are written to `out` and replace those of an earlier demo.

    It starts processes, so a script calls it below `if __name__ == "__main__":`; otherwise each process would run the
    script again.

    Args:
        out: A folder; it is created if it does not exist.
        seed: Seed of sounds, clips and training.
        config: Size of the demo.
        progress: Draw progress bars on standard error.

    Raises:
        EarmarkError: matplotlib or TensorBoard is not installed, or a setting is invalid.
        OSError: The folder cannot be written.
    """
    require_matplotlib()
    config = config or DemoConfig()
    out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True, quiet=not progress)
    bank = synthetic_bank(config.n_sounds, seed)
    train_set = _mix_clips(bank, "train", replace(config.clips, seed=3 * seed), config.n_train_clips, console)
    test_set = _mix_clips(bank, "test", replace(config.clips, seed=3 * seed + 1), config.n_test_clips, console)
    check_disjoint(train_set, test_set)

    console.print(f"training by {' and by '.join(POOLINGS)}, on clips with labels but without times")
    trained = _train_networks(replace(config.training, seed=seed), train_set, test_set, out, config.n_jobs, console)
    reports = {name: trained[name] for name in POOLINGS}
    checkpoints = {name: out / f"{pooling}.safetensors" for name, pooling in POOLINGS.items()}
    networks = {name: Network.load(path) for name, path in checkpoints.items()}
    taggers = {name: Tagger(TorchEngine(network)) for name, network in networks.items()}

    mixed = mix_soundscapes(bank.select(splits=["test"]), replace(config.scene, seed=3 * seed + 2), 1)
    clip, truth = mixed.dataset[0], tuple(mixed.truth)
    scene, picture = out / "scene.flac", out / "demo.png"
    save_audio(scene, clip.load(16000))
    timelines = {name: tagger.timeline(scene) for name, tagger in taggers.items()}
    events = {name: tuple(timeline.events(_THRESHOLD)) for name, timeline in timelines.items()}
    _draw(picture, clip, networks["GMAP"], timelines, truth, events["GMAP"])
    return DemoResult(reports, truth, events, scene, picture, checkpoints)


def _mix_clips(bank: Dataset, split: str, config: SoundscapeConfig, n_clips: int, console: Console) -> Dataset:
    with _progress_bar(f"mixing clips to {split}", console) as update:
        sounds = bank.select(splits=[split])
        return mix_soundscapes(sounds, config, n_clips, split=split, progress=update).dataset


def _train_networks(
    config: TrainConfig, data: Dataset, test: Dataset, out: Path, n_jobs: int, console: Console
) -> dict[str, Report]:
    """Trains and evaluates a network for each pooling, and saves it in `out`."""
    n_done = dict.fromkeys(POOLINGS, 0)
    # only the networks are kept: a repeated demo trains again
    with (
        sigterm_as_interrupt(),
        tempfile.TemporaryDirectory(prefix=".run-", dir=out) as runs,
        _progress_bar("training", console) as update,
    ):
        train_one = partial(_train_network, config=config, data=data, test=test, runs=Path(runs), out=out)

        def show(name: str, n_clips: int) -> None:
            n_done[name] = n_clips
            update(sum(n_done.values()), len(POOLINGS) * config.n_clips_seen)

        if n_jobs == 1:
            return {name: train_one(name, partial(show, name)) for name in POOLINGS}
        # two networks of this size, with a thread each, train faster than one after the other (decision 0042)
        pool = Pool(n_jobs, n_threads=max(1, n_processors() // n_jobs))
        reports: dict[str, Report] = {}
        # the processes must have ended before the folder that they write to is removed
        with closing(pool.run(train_one, POOLINGS, show)) as results:
            for name, report in results:
                if isinstance(report, Death):
                    raise EarmarkError(f"training by {name}: its process {report.reason}")
                reports[name] = report
        return reports


def _train_network(
    name: str,
    report: Callable[[int], None],
    *,
    config: TrainConfig,
    data: Dataset,
    test: Dataset,
    runs: Path,
    out: Path,
) -> Report:
    pooling = POOLINGS[name]
    try:
        result = train(replace(config, pooling=pooling), data, runs / pooling, progress=report)
    except TrainingInterrupted:
        raise KeyboardInterrupt from None
    network = Network.load(result.last)
    network.save(out / f"{pooling}.safetensors")
    return evaluate(network, test, model=name)


def _draw(
    path: Path,
    clip: Clip,
    network: Network,
    timelines: Mapping[str, Timeline],
    truth: Sequence[TruthEvent],
    events: Sequence[Event],
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
        labels=list(dict.fromkeys([*(e.label for e in truth), *(e.label for e in events)])),
        attention=engine.attention(engine.encode(waveform[None])[0]),
        seconds_per_segment=network.seconds_per_segment,
        truth=[Span(event.label, event.onset, event.offset) for event in truth],
        threshold=_THRESHOLD,
        title="Sounds that were not in training; training used clip labels only, no event times",
    )


def _overlap(event: Event, truth: TruthEvent) -> bool:
    return event.label == truth.label and event.onset < truth.offset and truth.onset < event.offset


def _format_times(event: Event | TruthEvent) -> str:
    return f"{event.onset:.1f} - {event.offset:.1f}"


def _format_events(events: Sequence[Event]) -> str:
    return ", ".join(f"{_format_times(event)} ({event.score:.2f})" for event in events)


@contextmanager
def _progress_bar(description: str, console: Console) -> Iterator[Callable[[int, int], None]]:
    """A progress bar, or a line every few seconds where there is no terminal."""
    if not console.is_terminal:
        last = time.monotonic()

        def note(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() >= last + _SECONDS_PER_LINE or done == total:
                last = time.monotonic()
                console.print(f"{description}: {done} of {total}")

        yield note
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn())
    with Progress(*columns, console=console, disable=console.quiet) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
