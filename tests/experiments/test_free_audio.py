"""Lists of freely licensed recordings."""

from pathlib import Path

import numpy as np
import torch

from earmark import hub
from earmark.audio.recording import Audio, save_audio
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.network import Network, NetworkConfig
from experiments.free_audio import EXAMPLES, Recording, false_tags, read_index, split_of, write_clips


def test_a_list_of_recordings_keeps_groups_together(tmp_path: Path) -> None:
    header = "file,source,licence,label,group,seconds,origin\n"
    rows = [f"a/{i}.ogg,{s},CC0,{label},g{i // 3},1,x" for i, (s, label) in enumerate(150 * [("x", "speech en")])]
    rows += ["a/m.ogg,sonicpi_samples,CC0,bass,m,1,x", "a/d.ogg,cdda_ccsounds,CC0,dog,d,1,x"]
    (tmp_path / "index.csv").write_text(header + "\n".join(rows) + "\n")
    found = read_index(tmp_path)
    assert [row.kind for row in found[-3:]] == ["speech", "music", "other"]
    assert [row.licence for row in found[-2:]] == ["CC0", "CC BY-SA 4.0"]
    assert {row.split for row in found} == {"train", "valid", "test"}
    assert all(len({row.split for row in found if row.group == f"g{i}"}) == 1 for i in range(50))
    write_clips([(found[0].path, "dog", "train", "g")], tmp_path / "clips.csv")
    assert (tmp_path / "clips.csv").read_text().splitlines()[1].endswith("a/0.ogg,dog,train,g")


def test_no_training_uses_the_examples_of_the_guides() -> None:
    assert {split_of(group) for group in EXAMPLES} == {"test"}


def test_false_tags_are_counted_on_test_recordings_of_speech_and_music(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LabelSet.esc50())
    network.thresholds = (0.0, 0.0, *48 * [1.0])
    network.save(tmp_path / "model.safetensors")
    noise = (0.1 * np.random.default_rng(0).standard_normal(8000)).astype(np.float32)
    save_audio(tmp_path / "a.wav", Audio(noise, 16000))
    rows = [("speech", "test"), ("speech", "test"), ("speech", "train"), ("music", "valid"), ("other", "test")]
    recordings = [Recording(tmp_path / "a.wav", "s", "CC0", "x", "g", split, kind) for kind, split in rows]
    found = false_tags(hub.load(tmp_path / "model.safetensors"), recordings)
    assert found == {"speech": {"n": 2, "tags": 2.0}}
