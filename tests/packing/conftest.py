"""Clips to pack, and a process that packs and can be killed."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data import Clip, Dataset, FileAudio
from earmark.data.parquet import read_parquet
from earmark.labels import LabelSet
from earmark.packing import PackConfig, assembly, pack
from earmark.packing.shard import encode

RATE = 16000
LABELS = LabelSet(("dog", "Musik, schöne"), ("/d", "/m"))
CONFIG = PackConfig(sample_rate=RATE, clips_per_shard=8)
SCRIPT = '''
"""Packs made-up sounds in a process that can be killed: OUT, processes, what the sounds do."""
import multiprocessing, os, resource, signal, sys, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from earmark.audio.recording import Audio
from earmark.data import Clip, Dataset
from earmark.labels import LabelSet
from earmark.packing import PackConfig, pack

@dataclass
class Sound:
    number: int
    does: str

    def load(self, sample_rate):
        (Path(__file__).parent / f"worker-{os.getpid()}").touch()
        if self.does.isdigit():  # waits when so many shards are whole, for a word or the parent's death
            is_over = lambda: (Path(__file__).parent / "go").exists() or not multiprocessing.parent_process().is_alive()
            while len(list(Path(sys.argv[1]).glob("[!.]*.parquet"))) >= int(self.does) and not is_over():
                time.sleep(0.01)
        if self.does == "deadly" and self.number == 20:
            os.kill(os.getpid(), signal.SIGKILL)
        rng = np.random.default_rng(self.number)
        return Audio((rng.standard_normal(400 + self.number) / 5).astype(np.float32), sample_rate)

if __name__ == "__main__":
    out, jobs, does = sys.argv[1:]
    if does == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
    clips = tuple(Clip(f"c{i}", ("dog",), Sound(i, does), split=("train", "test")[i % 3 == 0]) for i in range(60))
    try:
        config = PackConfig(sample_rate=16000, clips_per_shard=8)
        pack(Dataset("made up", LabelSet(("dog",)), clips), out, config, jobs=int(jobs))
    except (KeyboardInterrupt, Exception) as error:
        sys.exit(f"{type(error).__name__}: {error}")
'''


@pytest.fixture
def script(tmp_path: Path):
    """Starts SCRIPT on OUT with this many processes and sounds of this kind."""
    (tmp_path / "script.py").write_text(SCRIPT)
    source = Path(__file__).parents[2] / "src"

    def start(out: Path, jobs: int = 2, does: str = "sound") -> subprocess.Popen[str]:
        words = [sys.executable, str(tmp_path / "script.py"), str(out), str(jobs), does]
        environment = {**os.environ, "PYTHONPATH": str(source)}
        return subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)

    return start


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    """Clips of several lengths, rates and labels, with unusual names."""
    rng = np.random.default_rng(0)
    clips = []
    ids = (
        "-kY_x",
        "a/b/../c.wav",
        "/abs/d.wav",
        "C:\\e",
        "früh 🐦",
        "line\nbreak",
        "a\0b",
        "\udcffbytes",
        "x" * 300,
        "y",
    )
    for number, id_ in enumerate(ids):
        path = tmp_path / "in" / f"{number}.wav"
        samples = (rng.standard_normal(200 + 37 * number) / 5).astype(np.float32)
        save_audio(path, Audio(samples, RATE if number % 2 else 22050))
        labels = ((), ("dog",), ("Musik, schöne", "dog"))[number % 3]
        group = None if number % 2 else f"g{number // 4}"
        clips.append(Clip(id_, labels, FileAudio(path), ("train", None, "te/st")[number % 3], group))
    return Dataset("in", LABELS, tuple(clips))


def _content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="session")
def content():
    """The files of a folder with their bytes."""
    return _content


def _shards(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


@pytest.fixture(scope="session")
def shards():
    """The finished shards of a folder."""
    return _shards


def _hidden(folder: Path) -> list[Path]:
    return list(folder.glob(".*"))


@pytest.fixture(scope="session")
def hidden():
    """The hidden files of a folder."""
    return _hidden


def _rows_of(folder: Path, n_rows: int, per_group: int) -> Dataset:
    """A table with a sound a row."""
    import pyarrow as pa
    from pyarrow import parquet

    waveforms = np.random.default_rng(0).uniform(-0.5, 0.5, (n_rows, 400)).astype(np.float32)
    sounds = [encode(Audio(waveform, RATE), "int16") for waveform in waveforms]
    table = pa.table({"id": [f"r{n:03d}" for n in range(n_rows)], "audio": sounds, "labels": ["dog"] * n_rows})
    folder.mkdir()
    parquet.write_table(table, folder / "rows.parquet", row_group_size=per_group)
    return read_parquet(str(folder))


@pytest.fixture(scope="session")
def rows_of():
    """A table with a sound a row, as a data set."""
    return _rows_of


def _finish(process: subprocess.Popen[str]) -> str:
    return process.communicate()[1].strip()


@pytest.fixture(scope="session")
def finish():
    """Waits for a process and returns its standard error."""
    return _finish


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch):
    """Packs one shard, then is interrupted."""

    def until_one_is_made(*words):
        for task, (packed, seconds) in run(*words):
            yield task, (packed, seconds)
            if seconds is not None:
                raise KeyboardInterrupt

    def packed(*words) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(assembly.Pool, "run", until_one_is_made)
            with pytest.raises(KeyboardInterrupt, match=r"stopped, . of 6 shards are in .*: the same command"):
                pack(*words, jobs=1)

    run = assembly.Pool.run
    return packed
