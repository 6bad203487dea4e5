"""Names of numbered labels in the description of a Hugging Face data set."""

import json
from pathlib import Path

import pytest

from earmark.data import open_data
from earmark.data.dataset_card import DatasetCards, class_names
from earmark.errors import DataError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
yaml = pytest.importorskip("yaml")

NAMES = {"0": "dog", "1": "rain", "2": "Gänse: laut", "10": "off", "3": "no"}
ORDERED = ["dog", "rain", "Gänse: laut", "no", "off"]


def write(folder: Path, place: str = "data/train-00000.parquet", column: str = "label") -> Path:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = [0, 2] if column == "label" else [[0], [2, 1]]
    audio = [{"bytes": b"1", "path": f"{path.stem}-{number}.wav"} for number in "ab"]
    parquet.write_table(pa.table({"audio": audio, column: numbers}), path)
    return path


def readme(folder: Path, info: object, newline: str = "\n") -> None:
    text = yaml.safe_dump({"license": "mit", "dataset_info": info}, sort_keys=False, allow_unicode=True)
    text = f"---\n{text}---\n\n# Sounds\n\n---\n"
    (folder / "README.md").write_bytes(text.replace("\n", newline).encode())


def features(column: str = "label", names: object = NAMES) -> list[object]:
    label = {"class_label": {"names": names}}
    wrapped = {"name": column, "sequence": label} if column == "labels" else {"name": column, "dtype": label}
    return [{"name": "audio", "dtype": {"audio": {"sampling_rate": 16000}}}, wrapped]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("column", ["label", "labels"])
@pytest.mark.parametrize("place", ["data/train-00000.parquet", "a/b/x.parquet", "x.parquet"])
def test_the_readme_names_the_labels(tmp_path: Path, place: str, column: str, newline: str) -> None:
    path = write(tmp_path, place, column)
    readme(tmp_path, {"features": features(column)}, newline)
    for spec in (path, path.parent, tmp_path):
        dataset = open_data(f"parquet:{spec}")
        second = ("Gänse: laut",) if column == "label" else ("Gänse: laut", "rain")
        assert [clip.labels for clip in dataset] == [("dog",), second]


def test_names_of_the_configuration_whose_folder_it_is(tmp_path: Path) -> None:
    path = write(tmp_path, "birds/train.parquet")
    other = {"config_name": "cities", "features": features(names={"0": "car", "1": "tram", "2": "bell"})}
    readme(tmp_path, [other, {"config_name": "birds", "features": features()}])
    assert open_data(f"parquet:{path}").labels.names == ("Gänse: laut", "dog")
    path = write(tmp_path, "mixed/train.parquet")
    with pytest.raises(DataError, match="column label differently in cities, birds; give the files of one of them"):
        open_data(f"parquet:{path}")


def test_older_descriptions_in_json(tmp_path: Path) -> None:
    path = write(tmp_path)
    label = {"names": ORDERED, "_type": "ClassLabel"}
    (tmp_path / "dataset_infos.json").write_text(json.dumps({"default": {"features": {"label": label}}}))
    assert open_data(f"parquet:{path}").labels.names == ("Gänse: laut", "dog")


@pytest.mark.parametrize(
    "text",
    [
        "# class_label without front matter",
        "---\nlicense: mit\n---\n",
        "---\ntags:\n- class_label\n---\n",
        "---\ndataset_info:\n  features:\n  - name: labels\n    sequence: int64\n  - name: class_label\n---\n",
    ],
)
def test_numbers_stay_where_nothing_names_them(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, column="labels")
    (tmp_path / "README.md").write_text(text)
    assert open_data(f"parquet:{path}").labels.names == ("0", "1", "2")


@pytest.mark.parametrize("head", ["class_label: [", "dataset_info: class_label", "- class_label"])
def test_a_damaged_description_is_an_error(tmp_path: Path, head: str) -> None:
    path = write(tmp_path)
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n")
    with pytest.raises(DataError, match=r"README\.md: its description of the data set cannot be read"):
        open_data(f"parquet:{path}")


def test_a_number_without_a_name_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    readme(tmp_path, {"features": features(names={"0": "dog", "1": "rain"})})
    with pytest.raises(DataError, match="column label has 2, but its 2 labels are numbered from 0"):
        open_data(f"parquet:{path}")


def test_all_forms_of_a_column() -> None:
    label = {"names": {"1": "b", "0": "a"}}
    for inner in (
        {"class_label": label},
        {"dtype": {"class_label": label}},
        [{"_type": "ClassLabel", "names": ["a", "b"]}],
    ):
        for outer in (inner, {"sequence": inner}, {"list": inner}, {"feature": inner}):
            assert class_names(outer) == ["a", "b"]
    assert class_names({"dtype": "int64"}) is class_names(None) is class_names([]) is class_names("x") is None


def test_folders_without_a_description(tmp_path: Path) -> None:
    assert DatasetCards().class_names(str(tmp_path / "a.parquet"), "label") is None
