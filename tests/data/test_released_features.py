import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from earmark.data import open_data
from earmark.data.segments import segments_of
from earmark.errors import AudioError, DataError, EarmarkWarning
from earmark.labels import LabelSet
from tests.tfrecords import example, framed, released_clips, write_features

CLIPS = released_clips(23)
LABELS = LabelSet.audioset()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_features(tmp_path_factory.mktemp("features") / "bal_train", CLIPS)


def test_clips_come_back_as_they_were_written(folder):
    dataset = open_data(f"audioset-features:{folder}")
    segments = segments_of(dataset)
    assert dataset.labels == LABELS and dataset.splits == ("bal_train",)
    assert segments.lengths.tolist() == [len(rows) for _, _, rows in CLIPS]
    lengths = segments.lengths
    values = segments.table.gather(segments.rows, np.zeros_like(lengths), lengths)
    for clip, own, (video_id, labels, rows) in zip(dataset, values, CLIPS, strict=True):
        assert (clip.id, clip.group, clip.split) == (video_id, video_id, "bal_train")
        assert clip.labels == tuple(LABELS.names[label] for label in labels)
        np.testing.assert_array_equal(own[: len(rows)], (rows - 128) / np.float32(128))
        assert not own[len(rows) :].any()


def test_a_folder_of_folders_has_their_names_as_splits(tmp_path):
    write_features(tmp_path / "bal_train", CLIPS[:4])
    write_features(tmp_path / "eval", CLIPS[4:6])
    dataset = open_data(f"audioset-features:{tmp_path}")
    assert [len(dataset.select(split)) for split in ("bal_train", "eval")] == [4, 2]


def test_other_encodings_of_the_same_values_are_read(tmp_path):
    name, labels, rows = CLIPS[3]
    # a field that no reader knows: TensorFlow skips it too
    content = framed(example(name, labels, rows, packed=False, odd=b"\x50\x07"))
    (tmp_path / "a.tfrecord").write_bytes(content)
    segments = segments_of(dataset := open_data(f"audioset-features:{tmp_path}"))
    assert dataset[0].labels == tuple(LABELS.names[label] for label in labels)
    zero = np.zeros(1, np.int64)
    np.testing.assert_array_equal(segments.table.gather(segments.rows, zero, segments.lengths)[0] * 128 + 128, rows)


def cut(content: bytes) -> bytes:
    return content[:-5]


def flip(content: bytes) -> bytes:
    return content[:700] + bytes([content[700] ^ 1]) + content[701:]


def foreign(content: bytes) -> bytes:
    return framed(b"\x0a\x03abc") + content


def no_segments(content: bytes) -> bytes:
    return framed(example("a", [1], np.zeros((0, 128)))) + content


def strange_label(content: bytes) -> bytes:
    return framed(example("a", [527], np.zeros((1, 128)))) + content


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "cut off within record 5"),
        (flip, "the checksum of record . is wrong"),
        (foreign, "not a clip of AudioSet's released features"),
        (no_segments, "no audio_embedding"),
        (strange_label, "label 527, expected 0 to 526"),
    ],
)
def test_a_damaged_file_is_one_line_and_the_others_are_read(folder, tmp_path, damage, reason):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    file = copy / "01.tfrecord"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.warns(EarmarkWarning, match=f"01.tfrecord: .*{reason}.*left out") as caught:
        dataset = open_data(f"audioset-features:{copy}")
    assert len(caught) == 1
    assert [clip.id for clip in dataset] == [name for name, _, _ in CLIPS[:5] + CLIPS[10:]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ((name, text),) = open_data(f"audioset-features:{copy}", lenient=True).damaged
    assert name == "01.tfrecord" and text


def test_a_clip_has_no_sound(folder):
    with pytest.raises(AudioError, match=r"VGGish.* no sound"):
        open_data(f"audioset-features:{folder}")[0].load(16000)


def test_a_folder_without_features_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there are none"):
        open_data(f"audioset-features:{tmp_path}")
    (tmp_path / "a.tfrecord").write_bytes(b"nonsense")
    with pytest.raises(DataError, match="no clip can be read; 1 rows or files"), pytest.warns(EarmarkWarning):
        open_data(f"audioset-features:{tmp_path}")
    with pytest.raises(DataError, match="a folder of AudioSet's released features"):
        open_data(f"audioset-features:{tmp_path / 'a.tfrecord'}")


@pytest.mark.parametrize(
    ("split", "n_clips", "known"),
    [
        (
            "bal_train",
            22160,
            {
                "--cB2ZVjpnA": ("Smoke detector, smoke alarm",),
                "SWpwc8v5aoM": ("Throbbing",),
                "zz0ddNfz0h0": ("Vehicle", "Motor vehicle (road)", "Car", "Ice cream truck, ice cream van"),
            },
        ),
        (
            "eval_half",
            10327,
            {
                "--U7joUcTCo": ("Cough",),
                "SL52ykhLo8A": ("Keyboard (musical)", "Piano", "Electric piano"),
                "zz35Va7tYmA": ("Motor vehicle (road)", "Car", "Accelerating, revving, vroom", "Clatter"),
            },
        ),
    ],
)
def test_the_released_files_are_all_read(audioset_features, split, n_clips, known):
    dataset = open_data(f"audioset-features:{audioset_features / split}")
    assert len(dataset) == n_clips
    clips = {clip.id: clip for clip in dataset}
    for name, labels in known.items():
        assert clips[name].labels == labels
    lengths = segments_of(dataset).lengths
    assert lengths.min() >= 1 and lengths.max() == 10
