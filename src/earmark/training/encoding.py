"""Encoding of a data set, once: the segments of all clips, in a store that training and evaluation read."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np

from earmark import hub
from earmark.data.clips import Clip, Dataset
from earmark.data.segment_store import (
    ENCODER,
    FORMAT,
    JOURNAL,
    MANIFEST,
    StoredShard,
    is_whole,
    manifest,
    read_manifest,
    write_shard,
)
from earmark.data.segments import Encoder, segments_of
from earmark.errors import ConfigError, DataError, Limit, check_settings
from earmark.inference.engine import Engine, encode_clips
from earmark.inference.torch_engine import TorchEngine, torch_device
from earmark.labels import LabelSet
from earmark.model.network import Network
from earmark.parallel.prefetch import in_threads
from earmark.storage.differences import differences
from earmark.storage.files import leftovers, sha256_of
from earmark.storage.journal import open_journal
from earmark.storage.json_files import write_json
from earmark.training.batches import sound_or_error, unreadable_clips

_CROPS: Final = 0x63726F70
"""Sets the numbers of crops apart from other uses of the seed."""


@dataclass(frozen=True)
class EncodeConfig:
    """Settings of a store."""

    dtype: Literal["float16", "float32"] = "float16"
    """Format of the segments; float16 takes half the space."""
    n_crops: Annotated[int, Limit(at_least=1)] = 1
    """Crops of each clip to encode: the whole clip, then random ones, which only training uses."""
    shortest_crop: Annotated[float, Limit(above=0, at_most=1)] = 0.5
    """Smallest length of a random crop, as a fraction of the clip."""
    clips_per_shard: Annotated[int, Limit(at_least=1)] = 500
    """Clips per file; after an interruption at most so many are encoded again."""
    seed: Annotated[int, Limit(at_least=0)] = 0
    """Seed of the random crops."""

    def __post_init__(self) -> None:
        check_settings(self)


def encode(
    dataset: Dataset,
    model: str | Network,
    out: Path | str,
    config: EncodeConfig | None = None,
    *,
    skip_bad: bool = False,
    device: str = "auto",
    n_readers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Encodes all clips into a store, `segments:OUT`, and returns its description.

    The store depends on clips, encoder and settings only: after an interruption or a kill the same call ends with the
    same bytes. It verifies the checksums of what is there and replaces damaged files. Each clip is encoded whole and
    by itself.

    Args:
        dataset: Clips with sound.
        model: Name or path of a model, or a network.
        out: Folder of the store: new, empty, or begun by the same call.
        config: Settings of the store.
        skip_bad: Leave out clips that cannot be read, and list them in the description.
        device: Device that encodes, as in `hub.load`.
        n_readers: Threads that decode the next clips.
        progress: Called with the number of clips done so far and their total.

    Raises:
        ConfigError: The folder holds another store or other files.
        DataError: Clips cannot be read and `skip_bad` is off, they have segments already, or another process is at work
            in the folder.
        CheckpointError: The model cannot be read.
    """
    config, out = config or EncodeConfig(), Path(out)
    if segments_of(dataset) is not None:
        raise DataError(f"{dataset.name}: clips with sound were expected, these are encoded already")
    engine, encoder, network = _engine(model, device)
    size = config.clips_per_shard
    groups = [dataset.clips[first : first + size] for first in range(0, len(dataset), size)]
    plan = _plan(dataset, encoder, config)
    with _store(out, plan) as (known, add):
        if network is not None and not (out / ENCODER).exists():
            network.save(out / ENCODER)
        n_done = 0
        for number, clips in enumerate(groups):
            if number not in known:
                shard = partial(_encode_shard, out, number, clips, engine, config, dataset.labels, n_readers)
                advance = None if progress is None else partial(_advance, progress, n_done, len(dataset))
                add(number, shard(skip_bad, advance))
            n_done += len(clips)
            if progress is not None:
                progress(n_done, len(dataset))
        write_json(out / MANIFEST, manifest(plan, [known[number] for number in range(len(groups))]))
    return read_manifest(out)


def _plan(dataset: Dataset, encoder: Encoder, config: EncodeConfig) -> dict[str, Any]:
    """Everything that the store depends on but the sound, as JSON values."""
    return {
        "kind": "segments",
        "format": FORMAT,
        "name": dataset.name,
        "labels": {"names": list(dataset.labels.names), "ids": list(dataset.labels.ids)},
        "encoder": asdict(encoder),
        "settings": asdict(config),
        "data_sha256": _data_sha256(dataset),
    }


def _advance(progress: Callable[[int, int], None], n_before: int, n_clips: int, n_done: int) -> None:
    progress(n_before + n_done, n_clips)


def _engine(model: str | Network, device: str) -> tuple[Engine, Encoder, Network | None]:
    """The engine that encodes, its identity, and its network if it is not an exported file."""
    if isinstance(model, str) and model.endswith(".onnx"):
        path = hub.find_checkpoint(model)
        engine: Engine = hub.load(path, device=device).engine
        sha256, network, name = sha256_of(path), None, path.name
    else:
        network = copy.deepcopy(model) if isinstance(model, Network) else hub.load_network(model)
        engine = TorchEngine(network.to(torch_device(device)))
        sha256, name = network.encoder_sha256(), Path(model).name if isinstance(model, str) else "network"
    n_channels = engine.encode(np.zeros((1, engine.sample_rate), np.float32)).shape[2]
    seconds = engine.samples_per_segment / engine.sample_rate
    return engine, Encoder(name, sha256, n_channels, seconds, engine.sample_rate), network


def _encode_shard(
    out: Path,
    number: int,
    clips: Sequence[Clip],
    engine: Engine,
    config: EncodeConfig,
    labels: LabelSet,
    n_readers: int,
    skip_bad: bool,
    progress: Callable[[int], None] | None,
) -> StoredShard:
    read: list[Clip] = []
    failed: list[tuple[str, str]] = []

    def crops() -> Iterator[np.ndarray]:
        load = partial(sound_or_error, sample_rate=engine.sample_rate)
        loaded = in_threads(load, clips, max(1, n_readers), 2 * n_readers + 1)
        for position, (clip, audio) in enumerate(zip(clips, loaded, strict=True), 1):
            if isinstance(audio, str):
                failed.append((clip.id, audio))
            else:
                read.append(clip)
                yield from _crops(
                    audio.waveform, config, np.random.default_rng((config.seed, _CROPS, number, position))
                )
            if progress is not None:
                progress(position)

    encoded = [
        _stored(segments, config.dtype, read[position // config.n_crops].id)
        for position, segments in enumerate(encode_clips(engine, crops()))
    ]
    if failed and not skip_bad:
        raise unreadable_clips(failed, str(out))
    crops_of_clips = [encoded[first : first + config.n_crops] for first in range(0, len(encoded), config.n_crops)]
    return write_shard(out, number, read, crops_of_clips, labels, failed)


def _crops(waveform: np.ndarray, config: EncodeConfig, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The whole clip, then random parts of it."""
    yield waveform
    for _ in range(config.n_crops - 1):
        share, place = rng.random(2)
        length = max(1, round(len(waveform) * config.shortest_crop ** float(share)))
        start = int(place * (len(waveform) - length + 1))
        yield waveform[start : start + length]


def _stored(segments: np.ndarray, dtype: str, clip: str) -> np.ndarray:
    """The segments in the store's format."""
    with np.errstate(over="ignore"):
        stored = segments.astype(dtype)
    if not np.isfinite(stored).all():
        raise DataError(f"clip {clip!r}: its segments do not fit into {dtype}", remedy={"dtype": "float32"})
    return stored


@contextmanager
def _store(
    out: Path, plan: dict[str, Any]
) -> Iterator[tuple[dict[int, StoredShard], Callable[[int, StoredShard], None]]]:
    """Opens a store alone: its finished shards by number, and a function that adds one.

    The journal goes when the block ends without an error.
    """
    out.mkdir(parents=True, exist_ok=True)
    dead = set(leftovers(out))
    names = {path.name for path in out.glob("[!.]*") if path not in dead}
    if names and names.isdisjoint((MANIFEST, JOURNAL)):
        raise ConfigError(f"{out}: a new folder or an unfinished store was expected, this holds other files")
    with open_journal(out / JOURNAL, plan) as journal:
        _check_same(out, journal.head, plan)
        known: dict[int, StoredShard] = dict(journal.read(lambda line: (int(line[0]), StoredShard.from_json(line[1]))))
        if MANIFEST in names:
            before = read_manifest(out)
            _check_same(out, before, plan)
            known |= dict(enumerate(before["shards"]))
        # a damaged or missing file is written again
        known = {number: shard for number, shard in known.items() if is_whole(out, shard)}
        for path in leftovers(out):
            path.unlink(missing_ok=True)

        def add(number: int, shard: StoredShard) -> None:
            known[number] = shard
            journal.append((number, asdict(shard)))

        yield known, add
        journal.remove()


def _check_same(out: Path, before: Any, now: dict[str, Any]) -> None:
    then = {name: before.get(name) for name in now} if isinstance(before, dict) else {}
    if differing := differences(_flat(then), _flat(now)):
        raise ConfigError(
            f"{out}: holds another store, these differ: {', '.join(differing)}; put them back or take another folder"
        )


def _flat(plan: dict[str, Any]) -> dict[str, Any]:
    """The plan without its labels, which its hash of the clips covers."""
    encoder = plan.get("encoder") or {}
    return {
        "name": plan.get("name"),
        "clips": plan.get("data_sha256"),
        "encoder": encoder.get("sha256"),
        **(plan.get("settings") or {}),
    }


def _data_sha256(dataset: Dataset) -> str:
    """Hash of labels and clips in their order, without the sound."""
    digest = hashlib.sha256(repr((dataset.labels.names, dataset.labels.ids)).encode())
    for clip in dataset:
        known = () if clip.known is None else (clip.known,)
        digest.update(repr((clip.id, clip.labels, clip.split, clip.group, *known)).encode(errors="surrogateescape"))
    return digest.hexdigest()
