"""Loading speed by layout: loose files, packs, Parquet by clips a row group, tar by offsets; in order and at random.

python benchmarks/bench_loading.py [--clips 2000] [--seconds 10] [--shards 4] [--folder DIR]

Writes FLAC files of coloured noise, which compress about as well as recordings, and reads them in one process: bytes
alone, then bytes decoded to float32 as `earmark train` does. The files are still in the page cache, so the benchmark
compares the work, not the disk. Opening is the work before the first clip: footers and labels of Parquet, headers of
tar. `earmark pack` writes the packs, in shards of 20 clips: more shards than stay open at once. Then the loader of
training reads them in balanced order, in batches of 32, with one reader per processor and no network behind it. Other
programs running at the same time distort the figures.
"""

import argparse
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from earmark.audio.recording import Audio, decode_audio, save_audio
from earmark.data import Clip, Dataset, FileAudio, parquet_audio
from earmark.data.parquet import read_parquet
from earmark.data.parquet_audio import ParquetAudio
from earmark.data.targets import Targets
from earmark.labels import LabelSet
from earmark.packing import PackConfig, pack
from earmark.parallel.processors import n_processors
from earmark.training.batches import TrainBatches, Waveforms, load_batches
from earmark.training.plan import Plan

RATE = 32000
ROW_GROUPS = (1, 4, 100)


@dataclass(frozen=True)
class Layout:
    """A storage layout of clips: time to open it, and the bytes of each clip."""

    name: str
    open_seconds: float
    read: Callable[[int], bytes]
    n_bytes: int


def write_clips(folder: Path, n_clips: int, seconds: float) -> list[Path]:
    """Writes FLAC files of noise that falls with frequency, at levels within 40 dB."""
    files = []
    for number in range(n_clips):
        rng = np.random.default_rng(number)
        white = rng.standard_normal(round(seconds * RATE))
        brown = np.convolve(white, 0.9 ** np.arange(64), "same")
        path = folder / f"{number:06d}.flac"
        save_audio(path, Audio((10 ** rng.uniform(-3, -1) * brown).astype(np.float32), RATE))
        files.append(path)
    return files


def loose(files: Sequence[Path]) -> Layout:
    """One file per clip."""
    start = time.perf_counter()
    names = [str(path) for path in sorted(files[0].parent.iterdir())]
    opened = time.perf_counter() - start
    return Layout(
        "loose files", opened, lambda clip: Path(names[clip]).read_bytes(), sum(p.stat().st_size for p in files)
    )


def shards(files: Sequence[Path], n_shards: int) -> list[Sequence[Path]]:
    """The files of each shard."""
    n_each = -(-len(files) // n_shards)
    return [files[start : start + n_each] for start in range(0, len(files), n_each)]


def in_parquet(files: Sequence[Path], folder: Path, n_shards: int, n_rows: int) -> Layout:
    """Parquet as `earmark pack` writes it, except for the size of the row groups."""
    folder.mkdir()
    for number, own in enumerate(shards(files, n_shards)):
        columns = {
            "id": [path.stem for path in own],
            "audio": pa.array([{"bytes": path.read_bytes(), "path": path.name} for path in own]),
            "labels": [["noise"]] * len(own),
        }
        plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
        parquet.write_table(pa.table(columns), folder / f"{number:04d}.parquet", row_group_size=n_rows, **plain)
    start = time.perf_counter()
    readers = [clip.audio for clip in read_parquet(str(folder))]
    opened = time.perf_counter() - start

    def read(clip: int) -> bytes:
        reader = readers[clip]
        return reader.recording() if isinstance(reader, ParquetAudio) else b""

    size = sum(path.stat().st_size for path in folder.iterdir())
    return Layout(f"parquet, {n_rows} a row group", opened, read, size)


def in_pack(data: Dataset, folder: Path, codec: Literal["flac", "int16"]) -> tuple[Layout, Dataset, float]:
    """A pack of `earmark pack`: the layout, its clips, and the packing rate in clips per second on all processors."""
    start = time.perf_counter()
    pack(data, folder, PackConfig(sample_rate=RATE, codec=codec, clips_per_shard=20))
    rate = len(data) / (time.perf_counter() - start)
    start = time.perf_counter()
    packed = read_parquet(str(folder))
    opened = time.perf_counter() - start
    place = {clip.id: clip.audio for clip in packed}
    readers = [place[clip.id] for clip in data]
    size = sum(path.stat().st_size for path in folder.glob("*.parquet"))
    return Layout(f"a pack, {codec}", opened, lambda clip: readers[clip].recording(), size), packed, rate


def loader_clips_per_second(data: Dataset, n_readers: int) -> float:
    """Clips per second of the training's batches, after the first few."""
    plan = Plan(n_steps=len(data) // 32, steps_per_epoch=len(data), batch_size=32, n_warmup_steps=0)
    targets = Targets((clip.labels for clip in data), data.labels)
    ids = [clip.id for clip in data]
    batches = TrainBatches(Waveforms(data.clips, RATE), targets, ids, plan, "balanced", 10 * RATE, 0)
    start, n_clips = time.perf_counter(), 0
    for step, batch in enumerate(load_batches(batches, range(plan.n_steps), n_readers, pin_memory=False)):
        if step < 2 * n_readers:  # the readers are still starting
            start = time.perf_counter()
        else:
            n_clips += len(batch.ids)
    return n_clips / (time.perf_counter() - start)


def in_tar(files: Sequence[Path], folder: Path, n_shards: int) -> Layout:
    """Tar files as in WebDataset, with sound and labels side by side; read by offsets found in a first pass."""
    folder.mkdir()
    for number, own in enumerate(shards(files, n_shards)):
        with tarfile.open(folder / f"{number:04d}.tar", "w") as tar:
            for path in own:
                tar.add(path, path.name)
                label = tarfile.TarInfo(f"{path.stem}.json")
                label.size = len(b'["noise"]')
                tar.addfile(label, BytesIO(b'["noise"]'))
    start = time.perf_counter()
    streams = []
    places = []
    for path in sorted(folder.iterdir()):
        with tarfile.open(path) as tar:
            places += [(len(streams), m.offset_data, m.size) for m in tar if m.name.endswith(".flac")]
        streams.append(path.open("rb"))
    opened = time.perf_counter() - start

    def read(clip: int) -> bytes:
        stream, offset, size = places[clip]
        streams[stream].seek(offset)
        return streams[stream].read(size)

    return Layout("tar, by offset", opened, read, sum(path.stat().st_size for path in folder.iterdir()))


def clips_per_second(layout: Layout, order: Sequence[int], decode: bool) -> float:
    """Clips per second of the faster of two passes, each with newly opened files."""
    seconds = []
    for _ in range(2):
        parquet_audio._open_files.cache_clear()
        start = time.perf_counter()
        for clip in order:
            data = layout.read(clip)
            if decode:
                decode_audio(data, RATE, "clip")
        seconds.append(time.perf_counter() - start)
    return len(order) / min(seconds)


def main() -> None:
    """Prints one line for each layout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="where to write; the system's temporary folder when not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        (folder / "clips").mkdir()
        files = write_clips(folder / "clips", arguments.clips, arguments.seconds)
        layouts = [
            loose(files),
            *(in_parquet(files, folder / f"parquet-{n}", arguments.shards, n) for n in ROW_GROUPS),
            in_tar(files, folder / "tar", arguments.shards),
        ]
        labels = LabelSet(("noise", "more noise"))
        clips = (Clip(path.stem, (labels.names[n % 2],), FileAudio(path)) for n, path in enumerate(files))
        packs = [in_pack(Dataset("noise", labels, tuple(clips)), folder / "flac", "flac")]
        packs.append(in_pack(packs[0][1], folder / "int16", "int16"))
        layouts[1:1] = [layout for layout, _, _ in packs]
        in_order = list(range(len(files)))
        at_random = np.random.default_rng(0).permutation(len(files)).tolist()
        size = layouts[0].n_bytes / len(files) / 1e3
        print(f"{len(files)} clips of {arguments.seconds:g} s at {RATE} Hz, {size:.0f} kB of FLAC each; one process")
        print(f"{'':24}{'bytes alone, clips/s':>24}{'decoded, clips/s':>24}{'opening':>12}{'beside FLAC':>14}")
        print(f"{'':24}" + f"{'in order':>12}{'at random':>12}" * 2 + f"{'us a clip':>12}{'bytes a clip':>14}")
        for layout in layouts:
            reads = [clips_per_second(layout, order, d) for d in (False, True) for order in (in_order, at_random)]
            more = (layout.n_bytes - layouts[0].n_bytes) / len(files)
            opening = 1e6 * layout.open_seconds / len(files)
            print(f"{layout.name:24}" + "".join(f"{read:12.0f}" for read in reads) + f"{opening:12.1f}{more:14.0f}")
        for layout, data, rate in packs:
            print(f"{layout.name}: packed at {rate:.0f} clips/s by {n_processors()} processes", end=", ")
            print(f"training's loader {loader_clips_per_second(data, n_processors()):.0f} clips/s")


if __name__ == "__main__":
    main()
