"""Fixtures of several test files."""

import builtins
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import SourceFileLoader
from importlib.util import cache_from_source, find_spec
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jaxtyping
import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import _import_hook

# ONNX Runtime would send usage statistics of the tests that import it themselves
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# While jaxtyping instruments a module, it looks for the bytecode of every other import under its own name too.
# Without this, PyTorch and other libraries would be compiled from source at each start of the tests.
_EARMARK = Path(find_spec("earmark").origin).parent
_instrumented = _import_hook._optimized_cache_from_source


def _cache(typechecker: str, /, path: str, *more: Any, **options: Any) -> str:
    if Path(path).is_relative_to(_EARMARK):
        return _instrumented(typechecker, path, *more, **options)
    return cache_from_source(path, *more, **options)


def _keep_bytecode(self: SourceFileLoader, source_path: str, cache_path: str, data: bytes) -> None:
    # threads that import at once may undo each other's patch; then instrumented code would get the plain name, and
    # every process without jaxtyping's hook would fail to import it
    if ".opt-jaxtyping" in cache_path:
        SourceFileLoader._cache_bytecode(self, source_path, cache_path, data)


_import_hook._optimized_cache_from_source = _cache
_import_hook._JaxtypingLoader._cache_bytecode = _keep_bytecode
# modules that run in the light install name these shapes in annotations only and do not import them
for _shape in ("Bool", "Float", "Float32", "Int", "Int16", "Num"):
    setattr(builtins, _shape, getattr(jaxtyping, _shape))

from earmark.audio.recording import Audio, save_audio  # noqa: E402
from earmark.labels import LabelSet  # noqa: E402
from earmark.storage.locks import lock_file  # noqa: E402

# tests in the background of a shell ignore Ctrl-C, but some tests need it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# no test depends on speed, and the same examples are tried everywhere
settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
settings.load_profile("unhurried")
PATIENCE = 600.0  # seconds to wait for an event

RATE = 1000
STEP = 400  # samples of a segment of 0.4 s


class MeanEngine:
    """Segments are means of 0.4 s; the logits of a bag are 10 x its mean, its negative, and a constant."""

    labels = LabelSet(("low", "high", "never"), ("/l", "/h", "/n"))
    sample_rate = RATE
    samples_per_segment = STEP
    halo: int | None = 2
    overlap = 0.5
    batch_size = 1

    def __init__(
        self,
        has_attention: bool = True,
        clip_duration: float | None = None,
        thresholds: tuple[float, ...] | None = None,
    ) -> None:
        self.has_attention = has_attention
        self.clip_duration = clip_duration
        self.thresholds = thresholds
        self.n_encoded = 0
        self.n_bags: list[int] = []
        self.n_values: list[int] = []

    def encode(self, waveforms: np.ndarray) -> np.ndarray:
        self.n_encoded += len(waveforms)
        blocks = [waveforms[:, i : i + STEP].mean(axis=1) for i in range(0, waveforms.shape[1], STEP)]
        return np.repeat(np.stack(blocks, axis=1).astype(np.float32)[:, :, None], 2, axis=2)

    def pool(self, segments: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        mask = np.ones(segments.shape[:2], bool) if mask is None else mask
        if not mask.any(axis=1).all():
            raise ValueError("empty bag")
        self.n_bags.append(len(segments))
        self.n_values.append(segments.size)
        return np.stack([own[real].mean(0) for own, real in zip(segments, mask, strict=True)])

    def classify(self, segments: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        level = 10 * self.pool(segments, mask)[:, 0]
        return np.stack([level, -level, np.full_like(level, -9)], axis=1)

    def attention(self, segments: np.ndarray, label: int | None = None) -> np.ndarray | None:
        if not self.has_attention:
            return None
        return np.full((2, len(segments)), 1 / len(segments), dtype=np.float32)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """Waits until something has happened; fails if the process that should do it ends first."""

    def wait(happened: Callable[[], object], process: subprocess.Popen[Any] | None = None) -> None:
        deadline = time.monotonic() + PATIENCE
        while not happened():
            if process is not None and process.poll() is not None and not happened():
                pytest.fail(f"the process ended before it: {process.communicate()}")
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def mean_engine() -> type[MeanEngine]:
    """An engine of a few lines of NumPy with predictable scores."""
    return MeanEngine


@pytest.fixture(scope="session")
def levels() -> Callable[..., Audio]:
    """Makes recordings whose segments have these means; the last segment has `last` samples."""

    def made(*values: float, last: int = STEP) -> Audio:
        waveform = np.repeat(np.array(values, dtype=np.float32), STEP)
        return Audio(waveform[: len(waveform) - STEP + last], RATE)

    return made


@pytest.fixture(scope="session")
def esc50_dir() -> Path:
    """ESC-50 with four of its folds: where EARMARK_ESC50 points, or beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "esc50"
    folder = Path(os.environ.get("EARMARK_ESC50") or beside)
    if (folder / "meta" / "esc50.csv").is_file():
        return folder
    reason = f"no ESC-50 in {folder}: set EARMARK_ESC50 to its folder"
    if os.environ.get("CI", "").lower() in {"1", "true", "yes", "on"}:
        pytest.fail(f"{reason} (in CI the real recordings must be there)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def audioset_features() -> Path:
    """AudioSet's released features: where EARMARK_AUDIOSET_FEATURES points, or beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "audioset" / "embeddings"
    folder = Path(os.environ.get("EARMARK_AUDIOSET_FEATURES") or beside)
    if not (folder / "bal_train").is_dir():
        pytest.skip(f"no features of AudioSet in {folder}: set EARMARK_AUDIOSET_FEATURES to their folder")
    return folder


@pytest.fixture(scope="session")
def published_models() -> Path:
    """EfficientAT's mn04 and what it makes of three clips: where EARMARK_MODELS points, or beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "models"
    folder = Path(os.environ.get("EARMARK_MODELS") or beside)
    if not (folder / "mn04_reference.npz").is_file():
        pytest.skip(f"no mn04_as_mAP_432.pt and mn04_reference.npz in {folder}: set EARMARK_MODELS to their folder")
    return folder


@pytest.fixture
def refuse_folder(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a folder unreadable, also for root."""
    scandir = os.scandir

    def refuse(folder: Path) -> None:
        def refusing(path: Any) -> Any:
            if str(path) == str(folder):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)

    return refuse


@pytest.fixture
def saved_figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The saved figures."""
    from earmark.plots import panels

    figures: list[Any] = []
    save = panels.save
    monkeypatch.setattr(panels, "save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


@pytest.fixture
def unchecked() -> Iterator[None]:
    """Environment without the type checks of the tests, as for a user."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def write_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Returns a folder that only the first of the parallel test processes writes; tests only read it."""
    own = tmp_path_factory.getbasetemp()
    is_shared = "PYTEST_XDIST_WORKER" in os.environ and sys.platform != "win32"  # there is no lock on Windows
    common = (own.parent if is_shared else own) / "written_once"
    common.mkdir(exist_ok=True)

    def write(name: str, fill: Callable[[Path], object]) -> Path:
        folder, partial = common / name, common / f"{name}.part"
        with (common / f"{name}.lock").open("w") as lock:
            while not lock_file(lock):
                time.sleep(0.05)
            if not folder.exists():
                shutil.rmtree(partial, ignore_errors=True)  # left by an error
                partial.mkdir()
                fill(partial)
                partial.rename(folder)
        return folder

    return write


@pytest.fixture
def hugging_face(tmp_path: Path) -> Iterator[Any]:
    """A Hugging Face Hub on this machine, which huggingface_hub takes for the real one; its cache is empty."""
    from tests.hub_server import running_hub

    with running_hub(str(tmp_path / "cache")) as hub:
        yield hub


@pytest.fixture(scope="session")
def exported(write_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """An exported small tagger; its .safetensors checkpoint is in the same folder."""

    def write(folder: Path) -> None:
        from earmark.export.onnx_file import export
        from tests.networks import graphs_made_once, small_network

        network = small_network()
        network.save(folder / "tagger.safetensors")
        with graphs_made_once(write_once):
            export(network, folder / "tagger.onnx")

    return write_once("exported", write) / "tagger.onnx"


class Row(NamedTuple):
    """A row of a segment list."""

    split: str
    video_id: str
    onset: float
    offset: float
    label_ids: tuple[str, ...]


class TinyAudioSet:
    """A tiny AudioSet in every published form: dialects of lists, file naming schemes, Parquet, FSD50K."""

    rows = (
        Row("balanced_train", "--4gqARaEJE", 0.0, 10.0, ("/m/068hy", "/m/07q6cd_", "/m/0bt9lr", "/m/0jbk")),
        Row(
            "balanced_train", "YaBcDeFgHiJ", 30.0, 40.0, ("/m/09x0r",)
        ),  # an id that looks like a file name of the first scheme
        Row("balanced_train", "aBcDe_30_40", 70.0, 80.0, ("/m/09x0r", "/m/04rlf")),  # and of the third
        Row("eval", "0123456789_", 5.5, 8.5, ("/m/0jbk", "/m/05zppz")),  # shorter than the others, not at a full second
        Row("eval", "-_xyzabc_12", 12.0, 22.0, ("/m/09x0r", "/m/05zppz")),
    )
    dialects = ("official", "unspaced", "spreadsheet")
    namings: ClassVar[dict[str, Callable[[Row], str]]] = {
        "Y<id>": lambda row: f"Y{row.video_id}",
        "<id>": lambda row: row.video_id,
        "<id>_<seconds>": lambda row: f"{row.video_id}_{row.onset:.3f}",
        "<id>_<whole seconds>": lambda row: f"{row.video_id}_{row.onset:.0f}",
        "<id>_<milliseconds>": lambda row: f"{row.video_id}_{1000 * row.onset:.0f}",
        "<id>_<seconds>_<seconds>": lambda row: f"{row.video_id}_{row.onset:.0f}_{row.offset:.0f}",
        "<id>_<milliseconds>_<milliseconds>": lambda row: (
            f"{row.video_id}_{1000 * row.onset:.0f}_{1000 * row.offset:.0f}"
        ),
    }

    @staticmethod
    def listed(rows: Sequence[Row], dialect: str = "official") -> bytes:
        """A segment list."""
        if dialect == "spreadsheet":
            heads = ["# Segments csv created Sun Mar  5 10:54:31 2017,,,,,,,", "# num_ytids=2,,,,,,,", "# YTID,,,,,,,"]
            lines = []
            for row in rows:
                first, *more = row.label_ids
                labels = f'"""{first}"""' if not more else ",".join([f'"""{first}"', *more[:-1], f'"{more[-1]}"""'])
                lines.append(f"{row.video_id},{row.onset:.3f},{row.offset:.3f},{labels},,,,")
            return "".join(f"{line}\r\n" for line in heads + lines).encode()
        heads = [
            "# Segments csv created Sun Mar  5 10:54:31 2017",
            "# num_ytids=2, num_segs=2",
            "# YTID, start_seconds",
        ]
        comma = ", " if dialect == "official" else ","
        lines = [
            comma.join([row.video_id, f"{row.onset:.3f}", f"{row.offset:.3f}", '"' + ",".join(row.label_ids) + '"'])
            for row in rows
        ]
        return "".join(f"{line}\n" for line in heads + lines).encode()

    @staticmethod
    def label(label_id: str) -> str:
        """The name of a label, or the id itself if it is not one of AudioSet's."""
        labels = LabelSet.audioset()
        return labels.names[labels.index(label_id)] if label_id in labels else label_id

    @staticmethod
    def sound(row: Row, sample_rate: int = 16000) -> Audio:
        """Half a second of noise, different for each id."""
        seed = list(row.video_id.encode())
        return Audio(np.random.default_rng(seed).uniform(-0.5, 0.5, sample_rate // 2), sample_rate)

    def save_folder(
        self, folder: Path, dialect: str = "official", naming: str = "<id>", suffix: str = ".wav", tables: str = "."
    ) -> Path:
        """Lists and recordings."""
        (folder / tables).mkdir(parents=True, exist_ok=True)
        for split in dict.fromkeys(row.split for row in self.rows):
            rows = [row for row in self.rows if row.split == split]
            (folder / tables / f"{split}_segments.csv").write_bytes(self.listed(rows, dialect))
            for row in rows:
                save_audio(folder / "audio" / split / f"{self.namings[naming](row)}{suffix}", self.sound(row))
        return folder

    def save_parquet(self, folder: Path, row_group_size: int = 100) -> Path:
        """Writes Parquet files as on the Hugging Face Hub."""
        import pyarrow as pa
        from pyarrow import parquet

        for split, place in {"balanced_train": "bal_train", "eval": "eval"}.items():
            rows = [row for row in self.rows if row.split == split]
            audio = []
            for row in rows:
                save_audio(folder / "sound.flac", self.sound(row))
                audio.append({"bytes": (folder / "sound.flac").read_bytes(), "path": f"{row.video_id}.flac"})
                (folder / "sound.flac").unlink()
            table = {
                "video_id": [row.video_id for row in rows],
                "audio": pa.array(audio, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
                "labels": [list(row.label_ids) or None for row in rows],
                "human_labels": [[self.label(id_) for id_ in row.label_ids] for row in rows],
            }
            path = folder / "data" / place / "00.parquet"
            path.parent.mkdir(parents=True)
            parquet.write_table(pa.table(table), path, row_group_size=row_group_size)
        return folder

    def save_fsd50k(self, folder: Path) -> Path:
        """Writes FSD50K's layout, which has the names of AudioSet's labels without commas."""
        tables = folder / "FSD50K.ground_truth"
        tables.mkdir(parents=True)
        ids = sorted({id_ for row in self.rows for id_ in row.label_ids if id_ in LabelSet.audioset()})
        name = {id_: self.label(id_).replace(", ", "_and_").replace(" ", "_") for id_ in ids}
        (tables / "vocabulary.csv").write_text("".join(f"{n},{name[id_]},{id_}\n" for n, id_ in enumerate(ids)))
        for split, part, columns in (("balanced_train", "dev", ",split"), ("eval", "eval", "")):
            lines = [f"fname,labels,mids{columns}"]
            for row in (row for row in self.rows if row.split == split):
                save_audio(folder / f"FSD50K.{part}_audio" / f"{row.video_id}.wav", self.sound(row))
                listed = ",".join(name.get(id_, id_) for id_ in row.label_ids)
                lines.append(f'{row.video_id},"{listed}","{",".join(row.label_ids)}"' + (",train" if columns else ""))
            (tables / f"{part}.csv").write_text("\n".join(lines) + "\n")
        return folder


@pytest.fixture(scope="session")
def tiny_audioset() -> TinyAudioSet:
    """Writes a tiny AudioSet as CSV and files, as Parquet or as FSD50K."""
    return TinyAudioSet()


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a reader of the guides: recordings and clips as the pages name them."""
    from earmark.data.synthetic import synthetic_bank
    from earmark.hub import find_checkpoint

    monkeypatch.chdir(tmp_path)
    sounds = [clip.load(16000) for clip in synthetic_bank(2)]
    for number, name in enumerate(("dog.wav", "call.wav", "recordings/a.wav", "recordings/b.flac", "thunder.wav")):
        save_audio(Path(name), sounds[number])
    save_audio(Path("night/20240501_053000.wav"), sounds[8])
    save_audio(Path("street.wav"), Audio(np.concatenate([sound.waveform for sound in sounds[4:8]]), 16000))
    for number, name in enumerate(("dog/a", "dog/b", "rain/c", "rain/d")):
        save_audio(Path("clips", f"{name}.wav"), sounds[number])
        save_audio(Path("held-out", f"{name}.wav"), sounds[number + 4])
    shutil.copy(find_checkpoint("earmark-esc50"), "tagger.onnx")
    return tmp_path
