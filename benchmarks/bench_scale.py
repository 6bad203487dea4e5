"""Cost of two million clips before the first training step: time and memory of one process, without any sound.

python benchmarks/bench_scale.py [--clips 2000000]

The clips are like those of a pack in shards of a thousand, with three of AudioSet's labels each. Times are for each
step alone; memory is the peak so far.
"""

import argparse
import multiprocessing
import pickle
import re
import resource
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import numpy as np

from earmark.data.clips import Clip, Dataset
from earmark.data.parquet_audio import PackedAudio, Shard
from earmark.data.targets import Targets
from earmark.labels import LabelSet
from earmark.training import TrainConfig
from earmark.training.features import check_data
from earmark.training.provenance import data_facts
from earmark.training.sampling import balanced_order

T = TypeVar("T")


def timed(what: str, make: Callable[[], T]) -> T:
    """Prints time and peak memory of a call, and returns its result."""
    start = time.perf_counter()
    made = make()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what:40}{time.perf_counter() - start:8.1f} s{memory:8.2f} GiB")
    return made


def reader_memory(data: Dataset) -> int:
    """KiB that a forked process copies while it reads each clip once in random order; Linux only."""

    def private() -> int:
        return int(re.findall(r"Private_Dirty:\s+(\d+)", Path("/proc/self/smaps_rollup").read_text())[0])

    def look(sender: Connection) -> None:
        before = private()
        for position in np.random.default_rng(0).permutation(len(data)).tolist():
            audio = data[position].audio
            assert isinstance(audio, PackedAudio) and audio.start > 0
        sender.send(private() - before)

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=look, args=(sender,))
    process.start()
    process.join()
    return int(receiver.recv())


def main() -> None:
    """Prints one line for each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2_000_000)
    n_clips = parser.parse_args().clips
    warnings.simplefilter("ignore")
    labels, rng = LabelSet.audioset(), np.random.default_rng(0)
    sets = [tuple(labels.names[i] for i in rng.choice(527, 3, replace=False)) for _ in range(50_000)]
    shards = [Shard("/data/pack", f"{number:05d}.parquet", "audio") for number in range(-(-n_clips // 1000))]

    def clip(number: int) -> Clip:
        name = f"{number:011x}"
        place = PackedAudio(shards[number // 1000], number % 1000, name, 4 + 300_000 * (number % 1000), 300_000)
        return Clip(name, sets[number % len(sets)], place, "unbalanced_train", name)

    print(f"{n_clips} clips")
    clips = timed("clips", lambda: tuple(map(clip, range(n_clips))))
    data = timed("data set", lambda: Dataset("pack", labels, clips))
    timed("checks", lambda: check_data(TrainConfig(), data, None))
    timed("fingerprints for run.json", lambda: data_facts(data))
    targets = timed("targets", lambda: Targets((clip.labels for clip in data), labels))
    rows = timed("clips of each label", lambda: [*targets.by_label(), targets.unlabelled()])
    timed("balanced order of a pass", lambda: balanced_order(rows, n_clips, np.random.default_rng(0)))
    text = timed("pickled, once for all devices", lambda: pickle.dumps(data))
    print(f"{len(text) / 2**20:.0f} MiB to each process")
    print(f"{reader_memory(data) / 2**20:.2f} GiB of the shared clips that each reader copies while it reads")


if __name__ == "__main__":
    main()
