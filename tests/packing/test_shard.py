"""One shard: its form, its samples, and the clips that it leaves out."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earmark.audio.recording import Audio, save_audio
from earmark.data import Clip, Dataset, FileAudio
from earmark.errors import AudioError
from earmark.labels import LabelSet
from earmark.storage.files import as_text

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
pytest.importorskip("fsspec", reason="fsspec is not installed")
parquet = pytest.importorskip("pyarrow.parquet")

from earmark.data.parquet import read_parquet  # noqa: E402
from earmark.packing import PackConfig, pack  # noqa: E402
from earmark.packing.plan import Skipped, make_plan  # noqa: E402
from earmark.packing.shard import encode, write_shard  # noqa: E402

RATE = 16000
LABELS = LabelSet(("dog", "Musik, schöne"), ("/d", "/m"))
CONFIG = PackConfig(sample_rate=RATE, clips_per_shard=8)


@pytest.mark.parametrize(("codec", "starts"), [("flac", b"fLaC"), ("int16", b"RIFF")])
def test_the_format_of_a_shard(data: Dataset, tmp_path: Path, codec: str, starts: bytes) -> None:
    plan = make_plan(data, PackConfig(sample_rate=RATE, codec=codec))
    begun: list[str] = []
    shard = plan.shards[-1]
    packed = write_shard(shard, tmp_path, plan.config, plan.schema_json(), begun.append)
    assert begun == [clip.id for clip in shard.clips] and packed.n_clips == len(begun) == 4
    file = parquet.ParquetFile(tmp_path / shard.file)
    assert file.num_row_groups == packed.n_clips
    assert {name: str(kind) for name, kind in zip(file.schema_arrow.names, file.schema_arrow.types, strict=True)} == {
        "id": "string",
        "audio": "struct<bytes: binary, path: string>",
        "labels": "list<element: string>",
        "split": "string",
        "group": "string",
        "duration": "double",
        "sha256": "string",
    }
    assert json.loads(file.schema_arrow.metadata[b"earmark"]) == {
        "format": 1,
        "kind": "pack",
        "name": "in",
        "labels": {"names": list(LABELS.names), "ids": list(LABELS.ids)},
        "sample_rate": RATE,
        "codec": codec,
    }
    repeated = json.loads(file.metadata.metadata[b"earmark_rows"])
    assert repeated["id"] == begun and repeated["labels"] == [list(clip.labels) for clip in shard.clips]
    assert repeated.keys() == {"id", "labels", "split", "group", "start", "n_bytes"}
    column = file.metadata.row_group(0).column(1)
    assert (column.path_in_schema, column.compression) == ("audio.bytes", "UNCOMPRESSED")
    assert not column.has_dictionary_page
    content = (tmp_path / shard.file).read_bytes()
    ranges = zip(repeated["start"], repeated["n_bytes"], strict=True)
    assert [content[start : start + n] for start, n in ranges] == [
        row["audio"]["bytes"] for row in file.read().to_pylist()
    ]
    for row, clip in zip(file.read().to_pylist(), shard.clips, strict=True):
        assert row["audio"]["bytes"][:4] == starts
        heard, _ = soundfile.read(io.BytesIO(row["audio"]["bytes"]), dtype="float32")
        np.testing.assert_allclose(heard, clip.load(RATE).waveform, rtol=0, atol=1 / 32768)
    write_shard(shard, tmp_path, replace(plan.config, clips_per_row_group=3), plan.schema_json(), begun.append)
    assert [parquet.ParquetFile(tmp_path / shard.file).metadata.row_group(i).num_rows for i in range(2)] == [3, 1]


@pytest.mark.parametrize(("codec", "suffix"), [("flac", ".flac"), ("int16", ".wav")])
def test_samples_are_rounded_and_clipped_as_in_files(tmp_path: Path, codec: str, suffix: str) -> None:
    audio = Audio(np.linspace(-1.3, 1.3, 4001, dtype=np.float32), RATE)
    save_audio(tmp_path / f"a{suffix}", audio)
    assert encode(audio, codec) == (tmp_path / f"a{suffix}").read_bytes()


def test_rows_that_are_read_as_one_stay_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_of: Callable[..., Any]
) -> None:
    read: list[int] = []
    one = parquet.ParquetFile.read_row_group

    def counted(self, number, *args, **options):
        read.append(number)
        return one(self, number, *args, **options)

    monkeypatch.setattr("earmark.data.parquet_audio._KEPT_GROUPS", 1)
    data = rows_of(tmp_path / "in", 120, 10)
    monkeypatch.setattr(parquet.ParquetFile, "read_row_group", counted)
    plan = make_plan(data, PackConfig(sample_rate=RATE, clips_per_shard=30))
    for shard in plan.shards:
        ids = [clip.id for clip in shard.clips]
        assert len({id_[:3] for id_ in ids}) >= 4, "of several row groups"
        assert ids != sorted(ids), "shuffled"
        write_shard(shard, tmp_path, plan.config, plan.schema_json(), lambda _: None)
    assert len(read) <= len(plan.shards) * 12 < 120, "once for a shard, not for each clip"
    assert sorted(set(read)) == list(range(12))
    assert [clip.id for shard in plan.shards for clip in shard.clips] == [clip.id for clip in plan.clips()]
    packed = [clip for shard in plan.shards for clip in read_parquet(str(tmp_path / shard.file))]
    assert [clip.id for clip in packed] == [clip.id for clip in plan.clips()]
    by_id = {clip.id: clip for clip in data}
    for clip in packed:
        np.testing.assert_array_equal(clip.load(16000).waveform, by_id[clip.id].load(16000).waveform)


@dataclass(frozen=True)
class Unreadable:
    """A sound that fails in its own way."""

    error: Exception

    def load(self, sample_rate):
        raise self.error


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (AudioError("/data/my clips/x.parquet, row 3 (a): no bytes"), "x.parquet, row 3 (a): no bytes"),
        (AudioError("s3://bucket/x.parquet: damaged"), "s3://bucket/x.parquet: damaged"),
        (ValueError("1 / 2 km/h\nor so"), "ValueError: 1 / 2 km/h or so"),
        (PermissionError(13, "Permission denied", "/data/x.wav"), "Permission denied"),
    ],
)
def test_reasons_are_the_same_on_every_machine(tmp_path: Path, error: Exception, reason: str) -> None:
    plan = make_plan(Dataset("d", LABELS, (Clip("a", (), Unreadable(error)),)), CONFIG)
    packed = write_shard(plan.shards[0], tmp_path, CONFIG, plan.schema_json(), lambda clip: None)
    assert packed.n_clips == 0 and packed.skipped == (Skipped("a", reason),)


@dataclass(frozen=True)
class Faulty:
    """A reader that returns nothing."""

    def load(self, sample_rate):
        return None


def test_a_reader_without_sound_fails_only_its_clip(tmp_path: Path, unchecked: None) -> None:
    save_audio(tmp_path / "b.wav", Audio(np.zeros(300, np.float32), RATE))
    clips = (Clip("a", (), Faulty()), Clip("b", (), FileAudio(tmp_path / "b.wav")))
    plan = make_plan(Dataset("d", LABELS, clips), CONFIG)
    packed = write_shard(plan.shards[0], tmp_path, CONFIG, plan.schema_json(), lambda clip: None)
    assert packed.n_clips == 1 and [one.id for one in packed.skipped] == ["a"]


def test_a_pack_keeps_which_labels_are_known(data: Dataset, tmp_path: Path) -> None:
    first, second, *others = data.clips
    partly = (replace(first, known=first.labels), replace(second, labels=(), known=LABELS.names), *others)
    pack(replace(data, clips=partly), tmp_path / "pack", CONFIG, jobs=1)
    packed = {clip.id: (clip.labels, clip.known) for clip in read_parquet(str(tmp_path / "pack"))}
    assert packed == {as_text(clip.id): (clip.labels, clip.known) for clip in partly}
