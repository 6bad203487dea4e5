"""Stores of encoded clips: their bytes, their clips, and heads that are joined with the encoder."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from earmark.audio.recording import Audio
from earmark.data import open_data
from earmark.data.segments import segments_of
from earmark.errors import CheckpointError, ConfigError, DataError
from earmark.evaluation.calibration import apply, calibrate
from earmark.evaluation.report import evaluate
from earmark.export.onnx_file import export
from earmark.hub import load, load_stages
from earmark.inference.tagger import Tagger
from earmark.inference.torch_engine import TorchEngine
from earmark.labels import LabelSet
from earmark.model.frontend import FrontendConfig
from earmark.model.head import Head
from earmark.model.network import Network, NetworkConfig
from earmark.training import TrainConfig, train
from earmark.training.encoding import EncodeConfig, encode
from tests.networks import graphs_made_once
from tests.training.tones import LABELS, in_files, record_of, run, tones, with_broken

CONFIG = EncodeConfig(clips_per_shard=3)
TINY = TrainConfig(
    pooling="attention",
    n_clips_seen=48,
    clips_per_epoch=16,
    batch_size=8,
    ema_decay=0.9,
    seed=3,
    device="cpu",
    precision="float32",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network with other labels."""
    torch.manual_seed(0)
    network = Network(NetworkConfig(FrontendConfig.at_16k(), width=2, n_heads=2), LabelSet(("low", "dog")))
    network.train()(torch.randn(8, 16000))
    path = tmp_path_factory.mktemp("encoder") / "a.safetensors"
    network.save(path)
    return str(path)


@pytest.fixture(scope="module")
def store(checkpoint, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "s"
    encode(tones(n_clips=8), checkpoint, folder, CONFIG)
    return folder


@pytest.fixture(scope="module")
def exact(checkpoint, tmp_path_factory) -> Path:
    """The same clips in single precision."""
    folder = tmp_path_factory.mktemp("exact") / "s"
    encode(tones(n_clips=8), checkpoint, folder, replace(CONFIG, dtype="float32"))
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def gathered(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    segments = segments_of(open_data(f"segments:{folder}"))
    return segments.table.gather(segments.rows, np.zeros_like(segments.rows), segments.lengths), segments.lengths


def test_a_store_has_the_clips_and_their_segments(store, exact, checkpoint):
    network, data, stored = Network.load(checkpoint), tones(n_clips=8), open_data(f"segments:{store}")
    assert stored.labels == data.labels and stored.fingerprint() == data.fingerprint()
    assert [(c.id, c.labels, c.split, c.group) for c in stored] == [(c.id, c.labels, c.split, c.group) for c in data]
    encoder = segments_of(stored).encoder
    assert encoder.sha256 == network.encoder_sha256() and encoder.name == "a.safetensors"
    assert (encoder.n_channels, encoder.seconds_per_segment, encoder.sample_rate) == (16, 0.4, 16000)
    halves, lengths = gathered(store)
    values, _ = gathered(exact)
    for row, clip in enumerate(data):
        with torch.inference_mode():
            own = network.encode(torch.from_numpy(clip.load(16000).waveform)[None])[0].numpy()
        assert lengths[row] == len(own)
        np.testing.assert_allclose(values[row, : len(own)], own, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(halves, values.astype(np.float16))


def test_a_killed_encoding_continues_to_the_same_bytes(store, checkpoint, tmp_path):
    code = f"""
import os, signal
from earmark.training.encoding import EncodeConfig, encode
from tests.training.tones import tones
kill = lambda done, n: os.kill(os.getpid(), signal.SIGKILL) if done == 5 else None
encode(tones(n_clips=8), {checkpoint!r}, {str(tmp_path / "s")!r}, EncodeConfig(clips_per_shard=3), progress=kill)
"""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}{os.pathsep}{root}"}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(DataError, match="unfinished"):
        open_data(f"segments:{tmp_path / 's'}")
    first = (tmp_path / "s" / "segments-00000.npy").stat().st_mtime_ns
    encode(tones(n_clips=8), checkpoint, tmp_path / "s", CONFIG)
    assert (tmp_path / "s" / "segments-00000.npy").stat().st_mtime_ns == first
    assert content(tmp_path / "s") == content(store)


def test_a_damaged_file_is_noticed_and_written_again(store, checkpoint, tmp_path):
    encode(tones(n_clips=8), checkpoint, tmp_path, CONFIG)
    for name in ("segments-00001.npy", "segments-00002.json"):
        bytes_ = bytearray((tmp_path / name).read_bytes())
        bytes_[-2] ^= 1
        (tmp_path / name).write_bytes(bytes(bytes_))
    with pytest.raises(DataError, match=r"segments-00002\.json: damaged"):
        open_data(f"segments:{tmp_path}")
    encode(tones(n_clips=8), checkpoint, tmp_path, CONFIG)
    assert content(tmp_path) == content(store)
    (tmp_path / "segments-00001.npy").write_bytes(b"short")
    with pytest.raises(DataError, match=r"segments-00001\.npy: missing or cut off"):
        open_data(f"segments:{tmp_path}")


def test_another_store_is_not_overwritten(store, checkpoint, tmp_path):
    with pytest.raises(ConfigError, match="seed 0 -> 1"):
        encode(tones(n_clips=8), checkpoint, store, replace(CONFIG, seed=1))
    with pytest.raises(ConfigError, match="clips "):
        encode(tones(n_clips=9), checkpoint, store, CONFIG)
    (tmp_path / "a.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other files"):
        encode(tones(n_clips=8), checkpoint, tmp_path, CONFIG)
    with pytest.raises(DataError, match="encoded already"):
        encode(open_data(f"segments:{store}"), checkpoint, tmp_path / "b", CONFIG)


def test_unreadable_clips_are_an_error_or_left_out(checkpoint, tmp_path):
    data = with_broken(tones(n_clips=4), 2)
    with pytest.raises(DataError, match="2 clips cannot be read: broken-0"):
        encode(data, checkpoint, tmp_path, CONFIG)
    about = encode(data, checkpoint, tmp_path, CONFIG, skip_bad=True)
    assert [name for shard in about["shards"] for name, _ in shard.skipped] == ["broken-0", "broken-1"]
    assert len(open_data(f"segments:{tmp_path}")) == 4


def test_a_clip_has_several_crops_and_the_first_is_whole(store, checkpoint, tmp_path):
    encode(tones(n_clips=8), checkpoint, tmp_path, replace(CONFIG, n_crops=3, shortest_crop=0.3))
    segments = segments_of(open_data(f"segments:{tmp_path}"))
    assert segments.rows.tolist() == list(range(0, 24, 3)) and len(segments.table.lengths) == 24
    np.testing.assert_array_equal(gathered(tmp_path)[0], gathered(store)[0])
    assert segments.table.lengths.min() == 1


@pytest.fixture(scope="module", params=["gmap", "decision_attention"])
def joined(request, exact, tmp_path_factory, write_once) -> Path:
    """A head at the embedding level, and one at the instance level, joined with the encoder: folder of a checkpoint."""
    folder = tmp_path_factory.mktemp(request.param)
    result = run(folder / "run", replace(TINY, pooling=request.param), open_data(f"segments:{exact}"))
    result.last.rename(folder / "a.safetensors")
    with graphs_made_once(write_once):
        export(Network.load(folder / "a.safetensors"), folder / "a.onnx")
    return folder


@pytest.fixture(params=["a.safetensors", "a.onnx"])
def tagger(joined, request) -> Tagger:
    return load(joined / request.param)


def test_the_joined_network_scores_recordings_as_the_store(joined, tagger, exact, store):
    data = tones(n_clips=8)
    network = load_stages(joined / "a.safetensors")
    assert isinstance(network, Network) and network.labels == LABELS
    from_store = evaluate(network, open_data(f"segments:{exact}"))
    np.testing.assert_allclose(evaluate(network, data).scores, from_store.scores, rtol=0, atol=1e-5)
    # half precision changes the segments, and with them the scores, but little
    np.testing.assert_allclose(evaluate(network, open_data(f"segments:{store}")).scores, from_store.scores, atol=1e-3)
    scores = [tagger.score(clip.load(16000)).scores for clip in data]
    np.testing.assert_allclose(scores, from_store.scores, rtol=0, atol=1e-5)


def test_the_joined_network_gives_timelines_streams_and_evidence(joined, tagger):
    recording = Audio(np.concatenate([clip.load(16000).waveform for clip in tones(n_clips=6)]), 16000)
    network = Network.load(joined / "a.safetensors")
    with torch.inference_mode():
        segments = network.encode(torch.from_numpy(recording.waveform)[None])
        windows = [network.classify(segments[:, first : first + 2])[0].sigmoid().numpy() for first in range(12)]
    timeline = tagger.timeline(recording, window=0.8, hop=0.4, context=0.0)
    np.testing.assert_allclose(timeline.scores, windows, rtol=0, atol=1e-5)

    threshold = np.median(timeline.scores, axis=0).tolist()
    stream = tagger.stream(16000, window=0.8, hop=0.4, context=0.0, threshold=threshold)
    blocks = np.split(recording.waveform, range(5000, len(recording.waveform), 5000))
    found = [event for block in blocks for event in stream.push(block)] + stream.finish()
    expected = timeline.events(threshold)
    assert len(expected) >= 3
    ours, theirs = ({(e.label, round(e.onset, 4), round(e.offset, 4)) for e in events} for events in (found, expected))
    assert ours == theirs
    np.testing.assert_allclose(stream.scores, timeline.scores[-1], rtol=0, atol=1e-5)

    whole = tagger.score(recording).scores
    label = LABELS.names[1]
    evidence = tagger.evidence(recording, label)
    assert evidence.score == pytest.approx(whole[1], abs=1e-5)
    with torch.inference_mode():
        alone = network.classify(segments[0][:, None]).mean(dim=0)[1].item()
        logit = network.classify(segments)[0, 1].item()
        attention = network.attention(segments)[0].numpy()
    assert evidence.weights.sum() == pytest.approx(logit - alone, abs=1e-4)
    of_label = attention[[1]] if network.pooling.level == "instance" else attention
    np.testing.assert_allclose(evidence.attention, of_label, rtol=0, atol=1e-5)


def test_the_head_alone_gives_the_scores_of_the_joined_network(store, tmp_path):
    stored = open_data(f"segments:{store}")
    result = run(tmp_path, TINY, stored)
    network = Network.load(result.last)
    head = Head(network.config.head_config(16), LABELS)
    head.load_state_dict({name: value for name, value in network.state_dict().items() if name in head.state_dict()})
    head.extra = network.extra
    np.testing.assert_allclose(evaluate(head, stored).scores, evaluate(network, stored).scores, rtol=0, atol=1e-6)


def test_a_store_calibrates_and_belongs_to_its_encoder(store, checkpoint, tmp_path):
    stored = open_data(f"segments:{store}")
    network = Network.load(run(tmp_path, TINY, stored).last)
    calibrated = apply(network, calibrate(network, [stored]))
    assert calibrated.thresholds is not None and calibrated.encoder_sha256() == network.encoder_sha256()
    other = Network(network.config, LABELS)
    with pytest.raises(DataError, match="another encoder"):
        evaluate(other, stored)
    other.save(store / "encoder.safetensors.new")
    (copy := tmp_path / "copy").mkdir()
    for name, bytes_ in content(store).items():
        (copy / name).write_bytes(bytes_)
    (store / "encoder.safetensors.new").replace(copy / "encoder.safetensors")
    with pytest.raises(CheckpointError, match="another encoder than the one"):
        run(tmp_path / "b", TINY, open_data(f"segments:{copy}"))


def test_a_frozen_backbone_is_encoded_trained_and_joined_in_one_go(checkpoint, tmp_path):
    data = in_files(tones(n_clips=8), tmp_path)
    config = replace(TINY, init=checkpoint, freeze="backbone", encoded_crops=2, segment_dropout=0.2)
    result = run(tmp_path / "run", config, data, tones("other", 4, first=50))
    network = Network.load(result.last)
    assert network.encoder_sha256() == Network.load(checkpoint).encoder_sha256()
    assert result.history[-1].valid_mAP is not None
    record = record_of(tmp_path / "run")
    assert record["init"]["labels"] == ["low"] and record["data"]["train"]["name"] == data.name
    assert run(tmp_path / "run", config, data, tones("other", 4, first=50), resume=True) == result


def test_a_failed_run_with_a_frozen_backbone_can_be_repeated(checkpoint, tmp_path):
    config = replace(TINY, init=checkpoint, freeze="backbone")
    with pytest.raises(DataError, match="cannot be read"):
        run(tmp_path, config, with_broken(tones(n_clips=8), 1))
    run(tmp_path, replace(config, skip_bad=True), with_broken(tones(n_clips=8), 1))
    assert [clip["id"] for clip in record_of(tmp_path)["skipped"]] == ["broken-0"]


def test_an_exported_encoder_is_not_joined_and_the_user_learns_why(exported, tmp_path, capfd):
    encode(tones(n_clips=8), str(exported), tmp_path / "s", CONFIG)
    result = train(TINY, open_data(f"segments:{tmp_path / 's'}"), tmp_path / "run", progress=True)
    assert "tagger.onnx: an exported encoder has no weights to join" in capfd.readouterr().err
    assert isinstance(load_stages(result.last), Head)
    with pytest.raises(CheckpointError, match=r"without the encoder .* \(tagger.onnx\); it cannot score recordings"):
        load(result.last)
    with pytest.raises(CheckpointError, match=r"expected a .safetensors checkpoint; an exported network only tags"):
        run(tmp_path / "b", replace(TINY, init=str(exported), freeze="backbone"), tones(n_clips=8))


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"freeze": "backbone"}, "init"),
        ({"encoded_crops": 2}, "encoded_crops"),
        ({"freeze": "backbone", "init": "a", "gain_db": 6.0}, "gain_db"),
        ({"freeze": "backbone", "init": "a", "width": 32}, "width"),
    ],
)
def test_settings_that_contradict_a_frozen_backbone_are_named(checkpoint, tmp_path, changes, setting):
    if "init" in changes:
        changes = {**changes, "init": checkpoint}
    with pytest.raises(ConfigError) as caught:
        run(tmp_path, replace(TINY, **changes), tones(n_clips=8))
    assert caught.value.setting == setting
    assert not list(tmp_path.glob("[!.]*"))


def test_a_manifest_cannot_lead_out_of_its_store(store, tmp_path):
    about = json.loads((store / "segments.json").read_text())
    about["shards"][0]["file"] = "../a.npy"
    (tmp_path / "segments.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match=r"segments\.json: damaged"):
        open_data(f"segments:{tmp_path}")


def test_clips_in_batches_have_the_segments_of_single_ones(store, exact, checkpoint, tmp_path, monkeypatch):
    class InBatches(TorchEngine):
        """As on a GPU."""

        def __init__(self, network):
            super().__init__(network)
            self.batch_size = 3

        def encode(self, waveforms):
            n_clips.append(len(waveforms))
            return super().encode(waveforms)

    n_clips = []
    monkeypatch.setattr("earmark.training.encoding.TorchEngine", InBatches)
    encode(tones(n_clips=8), checkpoint, tmp_path / "s", replace(CONFIG, dtype="float32", clips_per_shard=8))
    assert n_clips == [1, 3, 3, 2], "the first call finds the number of channels"
    np.testing.assert_allclose(gathered(tmp_path / "s")[0], gathered(exact)[0], rtol=0, atol=1e-5)
