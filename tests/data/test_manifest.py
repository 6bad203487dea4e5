import sys
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data import manifest
from earmark.data.clips import Dataset, FileAudio
from earmark.data.manifest import read_csv, read_folder
from earmark.errors import DataError, EarmarkWarning

RATE = 16000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the recordings a.wav, b.wav and more/c.wav, each 1 s."""
    for name in ("a.wav", "b.wav", "more/c.wav"):
        save_audio(tmp_path / name, Audio(np.linspace(-0.5, 0.5, RATE), RATE))
    return tmp_path


def read(folder: Path, content: str | bytes, **options: bool) -> Dataset:
    path = folder / "clips.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_csv(path, **options)


def refusal(folder: Path, content: str | bytes) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, content)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(folder / "clips.csv"))
    return text.removeprefix(str(folder / "clips.csv")).lstrip(":, ")


# csv


def test_every_column_is_read(folder: Path) -> None:
    data = read(
        folder,
        "group,split,path,labels,onset,offset,duration,remark\n"
        "g1,train,a.wav,rain; dog ;rain,,,,fine\n"
        "g1,train,a.wav,dog,0.25,0.75,,\n"
        ",,more/c.wav,,,,0.5,\n"
        f",test,{folder / 'b.wav'},dog,0.5,,,\n",
    )
    assert data.name == "clips.csv"
    assert data.labels.names == ("dog", "rain")
    assert [clip.id for clip in data] == ["a.wav", "a.wav@0.25", "more/c.wav", f"{folder / 'b.wav'}@0.5"]
    assert [clip.labels for clip in data] == [("rain", "dog"), ("dog",), (), ("dog",)]
    assert [clip.split for clip in data] == ["train", "train", None, "test"]
    assert [clip.group for clip in data] == ["g1", "g1", None, None]
    assert [clip.load(RATE).duration for clip in data] == [1.0, 0.5, 0.5, 0.5]
    assert data[1].audio == FileAudio(folder / "a.wav", 0.25, 0.5)


@pytest.mark.parametrize(
    "content",
    [
        "path,labels\na.wav,dog;rain\nb.wav,dog\n",
        "path,labels\r\na.wav,dog;rain\r\nb.wav,dog",
        "path,labels\ra.wav,dog;rain\rb.wav,dog\r",
        "\ufeffpath,labels\na.wav,dog;rain\nb.wav,dog\n",
        "Path, Labels\na.wav, dog;rain\nb.wav, dog\n",
        "path,labels,,\na.wav,dog;rain,,\n,,,\nb.wav,dog,,\n\n",
        'path,labels\n"a.wav","dog;rain"\n"b.wav","dog"\n',
        'path;labels\na.wav;"dog;rain"\nb.wav;dog\n',
        "path\tlabels\na.wav\tdog;rain\nb.wav\tdog\n",
    ],
)
def test_every_dialect_is_read(folder: Path, content: str) -> None:
    data = read(folder, content)
    assert [(clip.id, clip.labels) for clip in data] == [("a.wav", ("dog", "rain")), ("b.wav", ("dog",))]


def test_names_in_any_language_are_read(folder: Path) -> None:
    (folder / "a.wav").rename(folder / "über, все.wav")
    data = read(folder, 'path,labels\n"über, все.wav",Männer;犬')
    assert data[0].labels == ("Männer", "犬")
    assert data[0].load(RATE).duration == 1.0


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "needs the columns path, labels in its first row, got none"),
        ("path\na.wav\n", "needs the columns path, labels in its first row, got path"),
        ("path,label\na.wav,dog\n", "first row, got path, label; did you mean 'label'?"),
        ("a.wav,dog\nb.wav,rain\n", "first row, got a.wav, dog"),
        ("path,labels,path\n", "the column path occurs 2 times"),
        ("path,labels\n", "no row below the column names"),
        ("path,labels\na.wav,\nb.wav,;\n", "none of its 2 rows has a label"),
        ("path,labels\na.wav,dog\n\n,dog\n", "row 4: no path"),
        ("path,labels\na.wav,dog,rain\n", "row 2: expected 2 columns, got 3"),
        (
            "path;labels\na.wav;dog;rain\n",
            "row 2: expected 2 columns, got 3; put cells that contain the separator into quotes",
        ),
        ("path,labels,split\na.wav,dog\n", "row 2: expected 3 columns, got 2"),
        (
            "path,labels\na.wav,dog\na.wav,rain\n",
            "row 3: a.wav is already in row 2 of clips.csv; write all labels of a clip in one",
        ),
        ("path,labels,onset\na.wav,dog,1:30\n", "row 2: expected onset in seconds, 0 or more, got '1:30'"),
        ("path,labels,onset\na.wav,dog,-1\n", "row 2: expected onset in seconds, 0 or more, got '-1'"),
        ("path,labels,duration\na.wav,dog,nan\n", "row 2: expected duration in seconds, 0 or more, got 'nan'"),
        ("path,labels,duration\na.wav,dog,0\n", "row 2: the duration is 0 s"),
        ("path,labels,onset,offset\na.wav,dog,2,1\n", "row 2: the offset 1.0 s is not after the onset 2.0 s"),
        ("path,labels,offset,duration\na.wav,dog,2,1\n", "row 2: expected an offset or a duration, got both"),
        ('path,labels\n"a.wav,dog\n', "line 2: not valid CSV: unexpected end of data"),
        (b"path,labels\na.wav,\xe4\n", "row 2: it is not UTF-8 text; save it as CSV UTF-8"),
        (b"\xff\xfep\0a", "cannot be read: it is not UTF-8 text; save it as CSV UTF-8"),
    ],
)
def test_invalid_tables_are_refused(folder: Path, content: str | bytes, text: str) -> None:
    assert text in refusal(folder, content)


def test_unreadable_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: cannot be read: No such file or directory"):
        read_csv(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_csv(tmp_path)


def test_missing_files_are_counted_and_named(folder: Path) -> None:
    content = "path,labels\na.wav,dog\n" + "".join(f"{n}.wav,rain\n" for n in range(5))
    shown = ", ".join(str(folder / f"{n}.wav") for n in range(3))
    assert refusal(folder, content) == f"5 of 6 audio files are missing: {shown}, ..."
    data = read(folder, content, lenient=True)
    assert [clip.id for clip in data] == ["a.wav"]
    assert data.missing == ("0.wav", "1.wav", "2.wav", "3.wav", "4.wav")
    assert data.select(labels=["dog"]).missing == data.missing
    with pytest.raises(DataError, match="1 of 1 audio files are missing"):
        read(folder, "path,labels\nnone.wav,dog\n", lenient=True)


@pytest.mark.parametrize(
    ("times", "part"),
    [
        ("onset,offset\na.wav,dog,0.5,2.5", "0.5 s to 2.5 s"),
        ("onset,duration\na.wav,dog,0.5,0.7", "0.5 s to 1.2 s"),
        ("onset\na.wav,dog,1500", "1500 s to 1500 s"),
        ("duration\na.wav,dog,1000", "0 s to 1000 s"),
    ],
)
def test_a_part_beyond_the_end_of_its_file_is_refused(folder: Path, times: str, part: str) -> None:
    text = f"row 3: the part from {part} exceeds the end of {folder / 'a.wav'}, which lasts 1.000 s; correct"
    assert refusal(folder, f"path,labels,{times}\n".replace("\n", "\n\n", 1)).startswith(text)


def test_lenient_allows_parts_beyond_the_end(folder: Path) -> None:
    (folder / "clips.csv").write_text("path,labels,onset,duration\na.wav,dog,0.5,1\ngone.wav,dog,0,1\nb.wav,rain,,\n")
    dataset = manifest.read_csv(folder / "clips.csv", lenient=True)
    assert [clip.id for clip in dataset] == ["a.wav@0.5", "b.wav"]
    assert dataset.missing == ("gone.wav@0.0",)


def test_lenient_lists_damaged_rows(folder: Path) -> None:
    table = "path,labels,onset\na.wav,dog,\na.wav,rain,\n,dog,\nb.wav,rain,1:30\nb.wav\nb.wav,rain,0\n"
    (folder / "clips.csv").write_text(table)
    dataset = manifest.read_csv(folder / "clips.csv", lenient=True)
    assert [clip.id for clip in dataset] == ["a.wav", "b.wav@0.0"]
    assert [part for part, _ in dataset.damaged] == [f"clips.csv, row {number}" for number in (3, 4, 5, 6)]
    assert [reason for _, reason in dataset.damaged][1::2] == ["no path", "expected 3 columns, got 1"]
    (folder / "clips.csv").write_text("path,labels\n,dog\n,rain\n")
    with pytest.raises(DataError, match=r"no row below the column names; 2 rows or files cannot be read, first"):
        manifest.read_csv(folder / "clips.csv", lenient=True)


def test_only_parts_are_checked_with_a_tolerance_for_rounding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probed: list[Path] = []
    original = manifest.probe
    monkeypatch.setattr(manifest, "probe", lambda path: probed.append(path) or original(path))
    (folder / "broken.wav").write_bytes(b"nothing")
    table = "path,labels,onset,duration\na.wav,dog,0.5,0.55\na.wav,dog,0.75,\nb.wav,rain,,\nbroken.wav,rain,1,\n"
    assert len(read(folder, table)) == 4
    assert probed == [folder / "a.wav", folder / "broken.wav"]


def test_an_mp3_without_a_stated_length_is_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = bytes.fromhex("fffb9064")  # a frame of 417 bytes: MPEG 1, layer 3, 128 kbit/s, 44100 Hz
    (folder / "a.mp3").write_bytes((header + bytes(413)) * 8)
    monkeypatch.setattr("earmark.audio.decoding.mono_blocks", lambda *_: pytest.fail("decoded"))
    assert len(read(folder, "path,labels,onset\na.mp3,dog,5\n")) == 1


def warned(folder: Path, content: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", EarmarkWarning)
        read(folder, content)
    return [str(one.message).removeprefix(str(folder / "clips.csv")).lstrip(": ") for one in caught]


def test_likely_typos_are_warned_about(folder: Path) -> None:
    assert warned(folder, "path,labels,splt,gruop,remark,rate\na.wav,dog,,,,\nb.wav,rain,,,,\n") == [
        "the column 'splt' is ignored; if you meant 'split', rename it",
        "the column 'gruop' is ignored; if you meant 'group', rename it",
    ]
    assert warned(folder, "path,labels\na.wav,dog\nb.wav,Dog\n") == [
        "the labels 'Dog' and 'dog' differ only in case and are treated as different labels"
    ]
    assert warned(folder, "path,labels\na.wav,dog;rain\nb.wav,dog\n") == [
        "all 2 clips have the label 'dog', so a network cannot learn what is not 'dog'; add clips without it"
    ]
    assert warned(folder, "path,labels\na.wav,dog\n") == []
    assert warned(folder, "path,labels\na.wav,dog\nb.wav,\n") == []


# folders


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def labelled(folder: Path) -> list[tuple[str, str, str | None]]:
    return [(clip.id, *clip.labels, clip.split) for clip in read_folder(folder)]


def test_sub_folders_are_labels(tmp_path: Path) -> None:
    make(tmp_path, "dog/1.wav", "dog/old/2.flac", "rain/1.wav")
    make(tmp_path, "rain/.1.wav", ".trash/x.wav", "empty/readme.txt", "x.txt")  # not recordings of the set
    assert labelled(tmp_path) == [
        ("dog/1.wav", "dog", None),
        ("dog/old/2.flac", "dog", None),
        ("rain/1.wav", "rain", None),
    ]
    assert read_folder(tmp_path).labels.names == ("dog", "rain")
    assert read_folder(tmp_path).name == tmp_path.name


def test_top_folders_may_be_splits(tmp_path: Path) -> None:
    make(tmp_path, "train/dog/1.wav", "train/rain/2.wav", "test/dog/3.wav")
    assert labelled(tmp_path) == [
        ("test/dog/3.wav", "dog", "test"),
        ("train/dog/1.wav", "dog", "train"),
        ("train/rain/2.wav", "rain", "train"),
    ]


def test_lenient_gives_loose_recordings_no_label(tmp_path: Path) -> None:
    make(tmp_path, "train/dog/1.wav", "test/dog/2.wav", "3.wav")
    clips = read_folder(tmp_path, lenient=True).clips
    assert [(clip.id, clip.labels, clip.split) for clip in clips] == [
        ("test/dog/2.wav", ("dog",), "test"),
        ("train/dog/1.wav", ("dog",), "train"),
        ("3.wav", (), None),
    ]
    with pytest.raises(DataError, match="no label for 1 recording outside all sub-folders"):
        read_folder(make(tmp_path / "bare", "3.wav"), lenient=True)


def test_a_folder_named_train_may_be_a_label(tmp_path: Path) -> None:
    make(tmp_path, "train/1.wav", "airplane/2.wav")
    assert labelled(tmp_path) == [("airplane/2.wav", "airplane", None), ("train/1.wav", "train", None)]
    assert labelled(make(tmp_path / "alone", "train/1.wav")) == [("train/1.wav", "train", None)]


def test_ambiguous_folders_are_refused(tmp_path: Path) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(DataError) as caught:
            read_folder(folder)
        return str(caught.value).removeprefix(f"{folder}: ")

    assert refused(tmp_path / "none") == "no such folder"
    assert refused(make(tmp_path, "a.txt") / "a.txt") == "expected a folder, got a file"
    assert refused(tmp_path).startswith("no recording in this folder; looked for .")
    bare = make(tmp_path / "bare", "dog/1.wav", "2.wav", "1.wav")
    assert refused(bare).startswith("no label for 2 recordings outside all sub-folders, first 1.wav; move")
    mixed = make(tmp_path / "mixed", "train/dog/1.wav", "rain/1.wav")
    assert refused(mixed).startswith("sub-folders look like splits (train), but rain lies beside them; put all label")
    flat = make(tmp_path / "flat", "Train/1.wav", "Val/2.wav")
    assert "look like splits, but recordings lie in them without a folder for their label" in refused(flat)
    assert refused(make(tmp_path / "a\u2028b", "c\x07d/1.wav", "rain/1.wav")).startswith(
        f"{tmp_path}/a\u2028b/c\x07d: "
    )


def test_a_label_without_readable_recordings_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.audio.media.is_installed", lambda: False)
    make(tmp_path, "dog/1.wav", "rain/1.wav", "cat/1.m4a", "cat/old/2.m4a", "cat/x.txt", "bird/3.mp4")
    with pytest.raises(DataError, match=r"the label 'bird' .*1 \.mp4.*; pip install"):
        read_folder(tmp_path)
    make(tmp_path, "bird/1.wav")
    with pytest.warns(EarmarkWarning), pytest.raises(DataError, match=r"the label 'cat' .*2 \.m4a.*; pip"):
        read_folder(tmp_path)
    make(tmp_path, "cat/1.wav")
    with pytest.warns(EarmarkWarning, match=r"3 files skipped, 2 \.m4a, 1 \.mp4: they need the extra: pip"):
        assert read_folder(tmp_path).labels.names == ("bird", "cat", "dog", "rain")


def test_a_label_without_readable_recordings_in_any_split_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.audio.media.is_installed", lambda: False)
    make(tmp_path, "train/dog/1.wav", "test/dog/2.wav", "train/cat/1.m4a", "test/rain/1.wav")
    with pytest.raises(DataError, match=r"the label 'cat' .*1 \.m4a"):
        read_folder(tmp_path)


def clips_in(root: Path, *folders: str) -> Path:
    for folder in folders:
        save_audio(root / folder / "a.wav", Audio(np.linspace(-0.5, 0.5, RATE), RATE))
    return root


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("Train", "Val"), {"train", "valid"}),
        (("training", "validation", "eval"), {"train", "valid", "test"}),
        (("TRAIN", "dev", "Testing"), {"train", "valid", "test"}),
        (("train_set", "evalset"), {"train", "test"}),
        (("audio-train", "validate"), {"train", "valid"}),
    ],
)
def test_other_spellings_of_split_folders_are_splits_with_a_note(
    tmp_path: Path, folders: tuple[str, ...], splits: set[str]
) -> None:
    clips_in(tmp_path, *(f"{folder}/{label}" for folder in folders for label in ("dog", "rain")))
    with pytest.warns(EarmarkWarning, match=f"sub-folders are taken as splits: .*{folders[0]} as train"):
        data = read_folder(tmp_path)
    assert data.labels.names == ("dog", "rain")
    assert {clip.split for clip in data} == splits


def test_numbered_folds_are_splits_with_a_note(tmp_path: Path) -> None:
    clips_in(tmp_path, "fold1/dog", "fold1/rain", "Fold 2/dog")
    with pytest.warns(EarmarkWarning, match="sub-folders are taken as splits: Fold 2 as fold2, fold1 as fold1"):
        data = read_folder(tmp_path)
    assert data.labels.names == ("dog", "rain") and data.splits == ("fold1", "fold2")


def test_labels_that_hold_the_same_folders_give_a_warning(tmp_path: Path) -> None:
    clips_in(tmp_path, *(f"{folder}/{label}" for folder in ("Train-clean", "Dev-clean") for label in ("dog", "rain")))
    with pytest.warns(EarmarkWarning, match="Dev-clean, Train-clean are taken as labels, and each holds the same fold"):
        assert read_folder(tmp_path).labels.names == ("Dev-clean", "Train-clean")
    clips_in(tmp_path, "Dev-clean/cat")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_folder(tmp_path)


@pytest.mark.parametrize("label", ["a\x07b", "a\u2028b", "a\ue000"])
def test_a_label_that_is_refused_is_named_with_file_and_row(folder: Path, label: str) -> None:
    text = refusal(folder, f"path,labels\na.wav,rain\nb.wav,{label}\n")
    assert text.startswith("row 3: a label name is text without") and repr(label) in text


def test_two_folders_that_look_like_one_split_are_refused(tmp_path: Path) -> None:
    clips_in(tmp_path, "train/dog", "Training/dog", "val/dog")
    with pytest.raises(DataError, match="Training and train all look like the split train; merge or rename them"):
        read_folder(tmp_path)


def test_labels_in_two_unicode_forms_are_one_label(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "G\u00e4nse") for form in ("NFC", "NFD"))
    clips_in(tmp_path, f"{composed}", f"{decomposed}", "rain")
    data = read_folder(tmp_path)
    assert data.labels.names == (composed, "rain")
    assert [clip.labels for clip in data].count((composed,)) == len(data) - 1
    table = read(tmp_path, f"path,labels\nrain/a.wav,{composed};{decomposed}\n")
    assert table.labels.names == (composed,) == table[0].labels
    assert table.labels.index(decomposed) == 0 and decomposed in table.labels


@pytest.mark.parametrize(
    "label", ["\u0645\u06cc\u200c\u062e", "\U0001f468\u200d\U0001f33e", "Golden\u00a0Eagle", "Nachti\u00adgall"]
)
def test_labels_of_other_scripts_are_taken(folder: Path, label: str) -> None:
    data = read(folder, f"path,labels\na.wav,{label}\nb.wav,rain\n")
    assert label.replace("\u00a0", " ") in data.labels.names


def test_a_path_is_found_in_either_unicode_form(folder: Path) -> None:
    (folder / "a.wav").rename(folder / unicodedata.normalize("NFD", "\u00fcber.wav"))
    data = read(folder, "path,labels\n\u00fcber.wav,dog\nb.wav,rain\n")
    assert data[0].id == "\u00fcber.wav"
    assert data[0].load(RATE).duration == 1.0


def test_paths_and_groups_may_hold_bytes_that_are_no_utf8(folder: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("file names are text there")
    (folder / "a.wav").rename(folder / "mod\udc85.wav")
    data = read(folder, b"path,labels,group,remark\nmod\x85.wav,dog,g\xff,\x84\nb.wav,rain,,\n")
    assert (data[0].id, data[0].group) == ("mod\udc85.wav", "g\udcff")
    assert data[0].load(RATE).duration == 1.0
    assert refusal(folder, b"path,labels\nG\xe4nse.wav,dog\n").startswith("row 2: it is not UTF-8 text; save it")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_tables_in_utf16_are_read(folder: Path, encoding: str) -> None:
    mark = "" if encoding == "utf-16" else "\ufeff"
    data = read(folder, f"{mark}path\tlabels\r\na.wav\tGänse\r\nb.wav\train\r\n".encode(encoding))
    assert data.labels.names == ("Gänse", "rain")


def test_a_file_is_one_clip_whichever_unicode_form_its_rows_have(folder: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "über.wav")
    (folder / "a.wav").rename(folder / decomposed)
    data = read(folder, f"path,labels\nüber.wav,dog\n{decomposed},rain\n", lenient=True)
    assert [clip.id for clip in data] == ["über.wav"]
    assert "already in row 2" in data.damaged[0][1]
    (folder / "b.wav").rename(folder / "über.wav")
    if len(list(folder.glob("*ber.wav"))) == 2:  # file systems of macOS equate the names
        data = read(folder, f"path,labels\nüber.wav,dog\n{decomposed},rain\n")
        assert [clip.id for clip in data] == ["über.wav", decomposed]


def test_splits_and_groups_are_compared_in_one_unicode_form(folder: Path) -> None:
    other = unicodedata.normalize("NFD", "Prüfung")
    data = read(folder, f"path,labels,split,group\na.wav,dog,Prüfung,gü\nb.wav,rain,{other},gu\u0308\n")
    assert data.splits == ("Prüfung",)
    assert len(data.select(splits=[other])) == 2
    assert data[0].group == data[1].group


def test_the_column_known_names_the_labels_that_somebody_looked_for(folder):
    rows = "path,labels,known\na.wav,dog,dog\nb.wav,,dog;fox\nmore/c.wav,dog,\n"
    data = read(folder, rows)
    assert data.labels.names == ("dog", "fox"), "a label may have been looked for in vain"
    assert [(clip.labels, clip.known) for clip in data] == [
        (("dog",), ("dog",)),
        ((), ("dog", "fox")),
        (("dog",), None),
    ]
