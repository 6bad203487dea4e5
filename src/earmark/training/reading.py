"""The clips of a run: read into memory, encoded, or ready to be read, with the targets that they are trained on."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import Progress, TaskID

from earmark.audio.recording import seconds_to_samples
from earmark.data.clips import Dataset
from earmark.data.segment_store import read_manifest, read_segments
from earmark.model.head import Stages
from earmark.model.network import Network
from earmark.parallel.processors import n_processors
from earmark.training.encoding import EncodeConfig, encode
from earmark.training.features import Columns, chosen_cache, read_features
from earmark.training.machine import chosen_precision
from earmark.training.ranks import Rank
from earmark.training.settings import TrainConfig
from earmark.training.teacher import SoftTargets, Teacher, positives, teacher_scores


def encoded(
    config: TrainConfig, datasets: Sequence[Dataset], folder: Path, device: torch.device, rank: Rank, bar: Progress
) -> tuple[list[Dataset], list[tuple[str, str]]]:
    """The same clips as segments, by the checkpoint `init`, and id and error of those that cannot be read."""
    stores: list[Dataset] = []
    skipped: list[tuple[str, str]] = []
    for part, dataset in zip(("training", "validation"), datasets, strict=False):
        task = bar.add_task(f"encoding {part} clips", total=len(dataset), note="")
        n_crops = config.encoded_crops if part == "training" else 1
        settings = EncodeConfig(n_crops=n_crops, seed=config.seed if n_crops > 1 else 0)

        def show(n_done: int, _: int, task: TaskID = task) -> None:
            bar.update(task, completed=n_done)

        with rank.one_after_the_first():
            if rank.is_first:
                encode(
                    dataset,
                    str(config.init),
                    folder / part,
                    settings,
                    skip_bad=config.skip_bad,
                    device=str(device),
                    n_readers=config.n_readers,
                    progress=show,
                )
        shards = read_manifest(folder / part)["shards"]
        skipped += [clip for shard in shards for clip in shard.skipped]
        stores.append(read_segments(folder / part))
    return stores, skipped


class Read(NamedTuple):
    """The clips of a run, read or ready to be read."""

    columns: list[Columns]
    """Training clips, then the validation clips if there are any."""
    skipped: list[tuple[str, str]]
    """Id and error of the clips that were left out."""
    crop: int
    """Longest crop of a clip, as `TrainBatches` takes it."""
    n_workers: int
    """Processes that read clips while the network is trained."""


def read_clips(
    config: TrainConfig,
    datasets: Sequence[Dataset],
    network: Network,
    is_cached: bool,
    rank: Rank,
    bar: Progress,
    features: Path | str | None,
) -> Read:
    """The clips as log-mels or waveforms."""
    n_readers = max(1, min(8, n_processors() // rank.n_local)) if config.n_workers is None else config.n_workers
    columns, skipped = [], []
    for part, dataset in zip(("training", "validation"), datasets, strict=False):
        task = bar.add_task(f"reading {part} clips", total=len(dataset), note="") if is_cached else TaskID(-1)
        advance = partial(bar.advance, task)
        with rank.one_after_the_first() if features is not None else nullcontext():
            kept = None if features is None else Path(features)
            found = read_features(
                dataset, datasets[0].labels, network.frontend, is_cached, config.skip_bad, n_readers, advance, kept
            )
        columns.append(found[0])
        skipped += found[1]
    n_samples = seconds_to_samples(config.clip_duration, network.config.frontend.sample_rate)
    crop = int(network.config.frontend.n_frames(n_samples)) if is_cached else n_samples
    return Read(columns, skipped, crop, 0 if is_cached else n_readers)


def resolved(
    config: TrainConfig, datasets: Sequence[Dataset], stages: Stages, device: torch.device, rank: Rank
) -> dict[str, str]:
    """The meaning of `auto` here."""
    cache: str = "segments"
    if isinstance(stages, Network):
        cache = chosen_cache(config, datasets, stages.frontend, rank.n_local, stages.backbone.takes_waveform)
    return {"cache": cache, "precision": chosen_precision(config, device)}


def softened(
    read: Read,
    datasets: Sequence[Dataset],
    teacher: Teacher,
    config: TrainConfig,
    folder: Path,
    rank: Rank,
    bar: Progress,
    is_live: bool,
) -> Read:
    """The same clips with the teacher's scores in their targets.

    If no validation clip has labels, the labels that the teacher scores `POSITIVE` or more count as true for them.

    Args:
        read: The clips with their true labels.
        datasets: The clips with their sound.
        teacher: Scores each clip once.
        config: Settings of the run.
        folder: Keeps the scores.
        rank: This process; the first one scores for all.
        bar: Shows progress.
        is_live: Whether the training clips are scored in each step, and not here.
    """
    columns = list(read.columns)
    for place, (part, dataset) in enumerate(zip(("training", "validation"), datasets, strict=False)):
        is_training = part == "training"
        if is_live if is_training else any(clip.labels for clip in dataset):
            continue
        task = bar.add_task(f"teacher scores {part} clips", total=len(dataset), note="")
        score = partial(teacher_scores, dataset, teacher, folder / f"{part}.jsonl", config.n_readers, config.skip_bad)
        scores = rank.from_first(partial(score, partial(bar.advance, task)))
        features, truth, ids = columns[place]
        rows = {clip.id: row for row, clip in enumerate(dataset)}
        scores = scores[[rows[name] for name in ids]]
        weight = teacher.config.label_weight
        soft = SoftTargets(truth, scores, weight) if is_training else positives(scores, teacher.labels)
        columns[place] = features, soft, ids
    return read._replace(columns=columns)
