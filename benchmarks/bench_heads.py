"""Times to open a store of encoded clips of AudioSet's size, and to train a head on a small store.

python benchmarks/bench_heads.py [--features DIR] [--clips 2000] [--labels 50]

The first store holds AudioSet's released features, if a folder of them is given, or random segments in the same shape:
22,160 clips of 10 segments of 128 channels with 527 labels. `open_data` opens it, and for comparison the released
files, whose checksums it verifies. The second store holds random clips in the shape of mn04's segments of 10 s: 32
segments of 384 channels. `earmark train segments:STORE --pooling gmap` trains on it with default settings; the time is
that of the whole command, its start included. The stores are in 16 bits, and in the page cache because they have just
been written. Processor time is that of all threads; other programs distort it less than the wall time.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np

from earmark.data import Clip, Dataset, open_data
from earmark.data.released_features import VGGISH
from earmark.data.segment_store import FORMAT, MANIFEST, manifest, write_shard
from earmark.data.segments import Encoder, SegmentedClip, SegmentTable, segments_of
from earmark.labels import LabelSet
from earmark.storage.json_files import write_json
from earmark.training import TrainConfig

MN04 = Encoder("random segments in the shape of mn04's", "random", 384, 0.32, 32000)
CLIPS_PER_SHARD = 500
Result = TypeVar("Result")


def random_clips(encoder: Encoder, n_clips: int, n_segments: int, labels: LabelSet, n_each: int) -> Dataset:
    """Random segments in memory; each label adds a vector of its own to all segments of its clips."""
    rng = np.random.default_rng(0)
    numbers = np.stack([rng.choice(len(labels), n_each, replace=False) for _ in range(n_clips)])
    values = rng.standard_normal((n_clips, n_segments, encoder.n_channels), np.float32)
    directions = rng.standard_normal((len(labels), encoder.n_channels), np.float32)
    values += directions[numbers].sum(axis=1)[:, None]
    table = SegmentTable(encoder, [values.reshape(-1, encoder.n_channels)], np.full(n_clips, n_segments, np.int64))
    clips = (
        Clip(f"{row:011d}", tuple(labels.names[n] for n in own), SegmentedClip(table, row), "train")
        for row, own in enumerate(numbers)
    )
    return Dataset("random segments", labels, tuple(clips))


def write_store(data: Dataset, folder: Path) -> str:
    """Writes clips with segments as a store, like `earmark encode`; returns the specification of the store."""
    segments = segments_of(data)
    if segments is None:
        raise SystemExit(f"{data.name}: clips with segments were expected")
    folder.mkdir()
    shards = []
    for number, first in enumerate(range(0, len(data), CLIPS_PER_SHARD)):
        own = slice(first, first + CLIPS_PER_SHARD)
        rows, lengths = segments.rows[own], segments.lengths[own]
        values = segments.table.gather(rows, np.zeros_like(rows), lengths).astype(np.float16)
        crops = [[array[:length]] for array, length in zip(values, lengths, strict=True)]
        shards.append(write_shard(folder, number, data.clips[own], crops, data.labels))
    plan = {
        "kind": "segments",
        "format": FORMAT,
        "name": data.name,
        "labels": {"names": list(data.labels.names), "ids": list(data.labels.ids)},
        "encoder": asdict(segments.encoder),
        "settings": {"n_crops": 1},
    }
    write_json(folder / MANIFEST, manifest(plan, shards))
    return f"segments:{folder}"


def timed(work: Callable[[], Result]) -> tuple[Result, str]:
    """The result, with the processor and wall time that it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, f"{time.process_time() - cpu:6.2f} s of processor time, {time.perf_counter() - wall:6.2f} s"


def opening(features: Path | None, folder: Path) -> Iterator[str]:
    """A line for each way to open clips in the number of AudioSet's."""
    if features is None:
        data = random_clips(VGGISH, 22_160, 10, LabelSet.audioset(), 3)
    else:
        data, taken = timed(lambda: open_data(f"audioset-features:{features}"))
        yield f"open {len(data)} clips from released files  {taken}"
    store = write_store(data, folder / "audioset")
    n_segments = 0 if (segments := segments_of(data)) is None else int(segments.lengths.sum())
    for opened in ("first", "again"):
        stored, taken = timed(lambda: open_data(store))
        yield f"open {len(stored)} clips, {n_segments} segments, from a store, {opened}  {taken}"
    if stored.fingerprint() != data.fingerprint():
        raise SystemExit("the store holds other clips")


def training(n_clips: int, n_labels: int, folder: Path) -> Iterator[str]:
    """A line about the training of a head."""
    labels = LabelSet(tuple(f"sound {number}" for number in range(n_labels)))
    store = write_store(random_clips(MN04, n_clips, 32, labels, 1), folder / "own")
    command = [sys.executable, "-m", "earmark", "train", store, "--pooling", "gmap", "--out", str(folder / "run")]
    wall, before = time.perf_counter(), os.times()
    subprocess.run([*command, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    yield (
        f"train {TrainConfig().n_clips_seen} clips seen of {n_clips}, 32 segments of {MN04.n_channels} channels, "
        f"{n_labels} labels, GMAP  {cpu:6.2f} s of processor time, {time.perf_counter() - wall:6.2f} s"
    )


def main() -> None:
    """Prints a line for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, help="folder of AudioSet's balanced training features")
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--labels", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for line in opening(arguments.features, Path(name)):
            print(line, flush=True)
        for line in training(arguments.clips, arguments.labels, Path(name)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
