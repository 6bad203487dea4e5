"""A checkpoint, recordings and labelled clips for all commands."""

from pathlib import Path

import numpy as np
import pytest
import torch

from earmark.audio.recording import Audio, save_audio
from earmark.data.synthetic import synthetic_bank
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig

LABELS = LabelSet(("dog", "[bold]rain[/bold]", "Male speech, man speaking"), ("/d", "/r", "/s"))


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("model") / "best.safetensors"
    Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LABELS).save(path)
    return str(path)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings in different formats and rates, one in a sub-folder, and a damaged one among them."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    (folder / "d").mkdir()
    for name, rate, n_channels in (("a.wav", 44100, 2), ("c.flac", 16000, 1), ("d/e.ogg", 22050, 1)):
        waveform = (rng.standard_normal((n_channels, 2 * rate)) / 10).astype(np.float32)
        save_audio(folder / name, Audio(waveform, rate), subtype="VORBIS" if name.endswith("ogg") else "PCM_16")
    whole = (folder / "a.wav").read_bytes()
    (folder / "b.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("no recording")
    return folder


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of labelled clips with two splits, one second each."""
    folder = tmp_path_factory.mktemp("clips")
    for clip in synthetic_bank(n_per_label=4).select(labels=("bell", "hiss", "siren")):
        path = folder / str(clip.split) / clip.labels[0] / f"{clip.id}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_audio(path, Audio(clip.load(16000).waveform[8000:24000], 16000))
    return folder


@pytest.fixture
def events(recordings: Path, tmp_path: Path) -> Path:
    """A table of twelve events of three labels in a recording, and one in a damaged one."""
    rows = [f"a.wav,{n * 0.1:.1f},{n * 0.1 + 0.5:.1f},{'dog' if n % 2 else 'a/b'},{0.3 + n / 20}" for n in range(11)]
    table = tmp_path / "events.csv"
    table.write_text("\n".join(["file,onset,offset,label,score", *rows, "b.wav,0.0,1.0,rain,0.5", ""]))
    return table
