"""Whole packs: every clip comes back."""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earmark.audio.recording import Audio, save_audio
from earmark.data import Clip, Dataset, FileAudio
from earmark.errors import DataError, EarmarkWarning
from earmark.labels import LabelSet

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.data.packs import MANIFEST  # noqa: E402
from earmark.data.parquet import read_parquet  # noqa: E402
from earmark.data.parquet_audio import PackedAudio  # noqa: E402
from earmark.packing import PackConfig, check, pack  # noqa: E402

RATE = 16000
LABELS = LabelSet(("dog", "Musik, schöne"), ("/d", "/m"))
CONFIG = PackConfig(sample_rate=RATE, clips_per_shard=8)


def test_every_clip_is_read_as_packed(data: Dataset, tmp_path: Path, shards: Callable[..., Any]) -> None:
    outcome = pack(data, tmp_path / "out", replace(CONFIG, clips_per_shard=2), jobs=1)
    names = [path.name for path in shards(tmp_path / "out")]
    assert names == [
        *(f"clips-0000{i}-of-00002.parquet" for i in range(2)),
        *(f"te%2Fst-0000{i}-of-00002.parquet" for i in range(2)),
        *(f"train-0000{i}-of-00002.parquet" for i in range(2)),
    ]
    rows = [row for path in shards(tmp_path / "out") for row in parquet.read_table(path).to_pylist()]
    assert len(rows) == len(data) == outcome.manifest["n_clips"] == outcome.n_made
    by_id = {row["id"]: row for row in rows}
    for clip in data:
        row = by_id[clip.id.replace("\udcff", "\\udcff")]
        sound = clip.load(RATE)
        heard, rate = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
        assert rate == RATE and heard.shape == sound.waveform.shape
        np.testing.assert_allclose(heard, sound.waveform, rtol=0, atol=1 / 32768)
        assert (tuple(row["labels"]), row["split"], row["group"]) == (clip.labels, clip.split, clip.group)
        assert row["duration"] == sound.duration
        assert row["sha256"] == hashlib.sha256(row["audio"]["bytes"]).hexdigest()
        assert row["audio"]["path"] is None
    read = read_parquet(str(tmp_path / "out"))
    assert (read.name, read.labels) == (data.name, LABELS)
    for clip in read:
        row = by_id[clip.id]
        assert (clip.labels, clip.split, clip.group) == (tuple(row["labels"]), row["split"], row["group"])
        assert isinstance(clip.audio, PackedAudio) and clip.audio.recording() == row["audio"]["bytes"]
        assert clip.load(RATE).duration == row["duration"]
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest == outcome.manifest
    assert manifest["duration"] == pytest.approx(sum(row["duration"] for row in rows))
    assert manifest["clip_ids_sha256"] == hashlib.sha256("\n".join(sorted(by_id)).encode()).hexdigest()
    assert str(tmp_path) not in (tmp_path / "out" / MANIFEST).read_text()
    for said, path in zip(manifest["shards"], shards(tmp_path / "out"), strict=True):
        assert said["file"] == path.name and said["n_bytes"] == path.stat().st_size
        assert said["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_bad_clips_are_reported_at_the_end_or_listed(
    data: Dataset, tmp_path: Path, content: Callable[..., Any], shards: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    whole = (tmp_path / "in" / "9.wav").read_bytes()
    (tmp_path / "in" / "9.wav").write_bytes(whole[:50])
    (tmp_path / "in" / "3.wav").unlink()
    with pytest.raises(DataError) as caught:
        pack(data, out, CONFIG, jobs=1)
    assert str(caught.value).startswith("in: 2 of 10 clips cannot be read: C:\\e (no such file), y (")
    assert str(caught.value).endswith("give the same command again, or leave them out (skip_bad=True)")
    assert not (out / MANIFEST).exists() and len(shards(out)) == 3
    outcome = pack(data, out, CONFIG, jobs=1, skip_bad=True)
    assert outcome.n_made == 0, "what could be read was packed already"
    assert (outcome.manifest["n_clips"], outcome.manifest["n_skipped"]) == (8, 2)
    skipped = [one for shard in outcome.manifest["shards"] for one in shard["skipped"]]
    assert {"id": "C:\\e", "reason": "no such file"} in skipped
    assert str(tmp_path) not in (out / MANIFEST).read_text()
    ids = sorted(id_ for path in shards(out) for id_ in parquet.read_table(path)["id"].to_pylist())
    assert outcome.manifest["clip_ids_sha256"] == hashlib.sha256("\n".join(ids).encode()).hexdigest()
    assert check(str(out)).damaged == ()
    # repaired without skip_bad: shards that left clips out are written again
    (tmp_path / "in" / "9.wav").write_bytes(whole)
    save_audio(tmp_path / "in" / "3.wav", Audio(np.zeros(300, np.float32), RATE))
    mended = pack(data, out, CONFIG, jobs=1)
    assert (mended.manifest["n_clips"], mended.manifest["n_skipped"]) == (10, 0)
    pack(data, tmp_path / "undisturbed", CONFIG, jobs=2)
    assert content(out) == content(tmp_path / "undisturbed")


def test_loud_clips_are_counted_and_warnings_are_passed_on(tmp_path: Path, shards: Callable[..., Any]) -> None:
    loud, upside_down = np.array([0, 1.5, -0.1, 0], np.float32), np.array([[0.5, 0.1], [-0.5, -0.1]], np.float32)
    save_audio(tmp_path / "loud.wav", Audio(loud, RATE), subtype="FLOAT")
    save_audio(tmp_path / "cancel.wav", Audio(np.tile(upside_down, 4000), RATE))
    clips = tuple(Clip(name, (), FileAudio(tmp_path / f"{name}.wav")) for name in ("loud", "cancel"))
    with pytest.warns(EarmarkWarning, match=r"cancel\.wav"):
        outcome = pack(Dataset("d", LABELS, clips), tmp_path / "out", CONFIG, jobs=1)
    assert outcome.manifest["n_overloaded"] == 1
    (shard,) = shards(tmp_path / "out")
    rows = {row["id"]: row["audio"]["bytes"] for row in parquet.read_table(shard).to_pylist()}
    heard, _ = soundfile.read(io.BytesIO(rows["loud"]))
    np.testing.assert_allclose(heard, [0, 32767 / 32768, -0.1, 0], rtol=0, atol=1 / 32768)
