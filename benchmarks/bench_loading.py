"""Loading speed by layout: loose files, Parquet by clips a row group, tar by offsets; each in order and at random.

python benchmarks/bench_loading.py [--clips 2000] [--seconds 10] [--shards 4] [--folder DIR]

Writes FLAC files of noise, coloured so that they compress about as recordings do, and reads them in one process: bytes
alone, then bytes decoded to float32 as `earmark train` does. The files have just been written, so they come from the
system's memory: what is compared is the work, not the disk. Opening is what comes before the first clip: footers and
labels of Parquet, headers of tar. Other programs running at the same time spoil the figures.
"""

import argparse
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from earmark.audio import Audio, decode_audio, save_audio
from earmark.data import parquet_audio
from earmark.data.parquet import read_parquet
from earmark.data.parquet_audio import ParquetAudio

RATE = 32000
ROW_GROUPS = (1, 4, 100)


@dataclass(frozen=True)
class Layout:
    """A way to keep clips: how long it takes to open, and the bytes of each."""

    name: str
    open_seconds: float
    read: Callable[[int], bytes]
    n_bytes: int


def write_clips(folder: Path, n_clips: int, seconds: float) -> list[Path]:
    """FLAC files of noise that falls with frequency, at levels 40 dB apart."""
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
    """A file a clip."""
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
    """Parquet as `earmark pack` writes it, but for the row groups."""
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


def in_tar(files: Sequence[Path], folder: Path, n_shards: int) -> Layout:
    """Tar as WebDataset has it, sound and labels beside each other; read by offsets that a pass over it has found."""
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
    """Of the faster of two passes, each with files opened anew."""
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
    """Prints a line a layout."""
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


if __name__ == "__main__":
    main()
