import json

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data.fsd50k import read_fsd50k
from earmark.errors import DataError
from earmark.labels import LabelSet

VOCABULARY = "0,Accordion,/m/0mkg\n1,Bark,/m/05tny_\n2,Dog,/m/0bt9lr\n"
DEV = 'fname,labels,mids,split\n64760,Accordion,/m/0mkg,train\n16399,"Bark,Dog","/m/05tny_,/m/0bt9lr",val\n'
EVAL = "fname,labels,mids\n37199,Dog,/m/0bt9lr\n"
CLIPS = {"dev_audio/64760": "train", "dev_audio/16399": "val", "eval_audio/37199": "test"}


@pytest.fixture
def folder(tmp_path):
    tmp_path = tmp_path / "FSD50K"
    tmp_path.mkdir()
    (tmp_path / "FSD50K.ground_truth").mkdir()
    for name, text in (("vocabulary", VOCABULARY), ("dev", DEV), ("eval", EVAL)):
        (tmp_path / "FSD50K.ground_truth" / f"{name}.csv").write_text(text)
    for name in CLIPS:
        save_audio(tmp_path / f"FSD50K.{name}.wav", Audio(np.linspace(-0.5, 0.5, 4410), 44100))
    return tmp_path


def refusal(folder) -> str:
    with pytest.raises(DataError) as caught:
        read_fsd50k(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_clips_follow_the_tables(folder):
    data = read_fsd50k(folder)
    assert data.name == "FSD50K"
    assert data.labels == LabelSet(("Accordion", "Bark", "Dog"), ("/m/0mkg", "/m/05tny_", "/m/0bt9lr"))
    assert [(c.id, c.labels, c.split, c.group, c.load(16000).duration) for c in data] == [
        ("64760", ("Accordion",), "train", None, 0.1),
        ("16399", ("Bark", "Dog"), "val", None, 0.1),
        ("37199", ("Dog",), "test", None, 0.1),
    ]


def test_converted_audio_and_uploaders(folder):
    wav = folder / "FSD50K.dev_audio" / "16399.wav"
    save_audio(wav.with_suffix(".flac"), Audio(np.linspace(-0.5, 0.5, 4410), 44100))
    wav.unlink()
    (folder / "FSD50K.metadata").mkdir()
    about = {"64760": {"title": "x", "uploader": "someone"}, "16399": {"uploader": "other"}}
    (folder / "FSD50K.metadata" / "dev_clips_info_FSD50K.json").write_text(json.dumps(about))
    data = read_fsd50k(folder)
    assert [c.group for c in data] == ["someone", "other", None]
    assert data[1].audio.path.name == "16399.flac"
    (folder / "FSD50K.metadata" / "dev_clips_info_FSD50K.json").write_text('{"64760": {}}')
    assert "the uploaders of the clips cannot be read" in refusal(folder)


def test_other_folders_are_refused(folder):
    assert refusal(folder.parent).endswith(f"it has no FSD50K.ground_truth; is it {folder}?")
    (folder / "FSD50K.ground_truth" / "eval.csv").unlink()
    assert refusal(folder).endswith("eval.csv: cannot be read: No such file or directory")


def test_missing_files_are_refused_or_listed(folder):
    lost = folder / "FSD50K.eval_audio" / "37199.wav"
    lost.unlink()
    assert refusal(folder) == f"{folder}: 1 of 3 audio files are missing: {lost}"
    assert read_fsd50k(folder, lenient=True).missing == ("37199",)


def test_lenient_allows_unknown_labels(folder):
    path = folder / "FSD50K.ground_truth" / "dev.csv"
    rows = '1,"Bark,Cat","/m/05tny_,/m/0",val\n2,Dog,/m/1,val\n3,,,train\n'
    path.write_text(DEV + rows)
    for name in "123":
        save_audio(folder / "FSD50K.dev_audio" / f"{name}.wav", Audio(np.linspace(-0.5, 0.5, 4410), 44100))
    (folder / "FSD50K.eval_audio" / "37199.wav").unlink()
    data = read_fsd50k(folder, lenient=True)
    assert [clip.labels for clip in data][2:] == [("Bark",), (), ()]
    assert data.outside == (("1", ("Cat", "/m/0")), ("2", ("/m/1",)))
    assert data.missing == ("37199",)


def test_lenient_lists_damaged_rows(folder):
    path = folder / "FSD50K.ground_truth" / "dev.csv"
    rows = ("4,Dog,,val", "4,Dog,/m/05tny_,val", ",Dog,/m/0bt9lr,val", "4,Dog,/m/0bt9lr", DEV.splitlines()[1])
    path.write_text(DEV + "".join(f"{row}\n" for row in rows))
    data = read_fsd50k(folder, lenient=True)
    assert len(data) == 3
    assert [part for part, _ in data.damaged] == [f"dev.csv, row {number}" for number in range(4, 9)]
    assert data.damaged[-1][1].endswith("64760 is already in row 2 of dev.csv")


@pytest.mark.parametrize(
    ("table", "old", "new", "text"),
    [
        (
            "dev",
            "mids,split",
            "mids,part",
            "dev.csv: needs the columns fname, labels, mids, split in its first row, got fname",
        ),
        ("dev", ",train", ",test", "dev.csv, row 2: expected split train or val, got 'test'"),
        (
            "dev",
            ",train",
            "",
            "dev.csv, row 2: expected 4 columns, got 3",
        ),
        ("eval", "Dog", "Cat", "eval.csv, row 2: 'Cat' is not among the 3 labels of vocabulary.csv"),
        ("eval", "Dog", "Bark", "eval.csv, row 2: the labels Bark do not match the MIDs /m/0bt9lr"),
        (
            "vocabulary",
            "1,Bark",
            "7,Bark",
            "vocabulary.csv, row 2: expected index 1, a label and its id, got 7, Bark, /m/",
        ),
        ("vocabulary", "Bark", "Dog", "vocabulary.csv: the label name 'Dog' is repeated"),
    ],
)
def test_damaged_tables_are_refused(folder, table, old, new, text):
    path = folder / "FSD50K.ground_truth" / f"{table}.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    assert refusal(folder).startswith(f"{path.parent}/{text}")
