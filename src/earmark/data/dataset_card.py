"""Names of numbered labels in the description of a Hugging Face data set: README.md, or the older JSON file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from threading import Lock
from typing import Any, Final

from earmark.errors import DataError
from earmark.storage.remote import RemotePath

_MAX_HEIGHT: Final = 3
"""Number of folders, from that of the Parquet file upwards, in which the description may lie."""
_README, _INFOS = "README.md", "dataset_infos.json"


class DatasetCards:
    """The descriptions beside and above Parquet files; each is read once, from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._features = cache(_features)

    def class_names(self, url: str, column: str) -> list[str] | None:
        """The names of the numbers in a column of a Parquet file; None if no description has them.

        Raises:
            DataError: A description is damaged, has several lists of names, or PyYAML is not installed.
        """
        folder = RemotePath(url).folder
        for _ in range(_MAX_HEIGHT):
            with self._lock:
                found = self._features(folder)
            if found is not None:
                return _choose(found, url, column)
            above = RemotePath(folder).folder
            if not above or above == folder:
                break
            folder = above
        return None


def _choose(found: Mapping[str, Mapping[str, Any]], url: str, column: str) -> list[str] | None:
    """The names in the configuration that a folder of the file is called after; in any, if they do not differ."""
    named = {config: names for config, features in found.items() if (names := class_names(features.get(column)))}
    own = [names for config, names in named.items() if config in url.split("/")]
    lists = {tuple(names) for names in own or named.values()}
    if len(lists) > 1:
        raise DataError(
            f"{url}: the description of its data set names the numbers in column {column} differently in "
            f"{', '.join(named)}; give the files of one of them, in a folder of that name"
        )
    return list(lists.pop()) if lists else None


def class_names(feature: Any) -> list[str] | None:
    """The names in the description of a column: a ClassLabel, or a list of them; None for other columns.

    In a footer, lists are {"feature": {...}} or, in older files, [{...}]; in README.md, they are {"sequence": {...}}
    or {"list": {...}}.
    """
    while feature is not None:
        if isinstance(feature, Sequence) and not isinstance(feature, str):
            feature = feature[0] if feature else None
            continue
        if not isinstance(feature, Mapping):
            return None
        label = feature if feature.get("_type") == "ClassLabel" else feature.get("class_label")
        if isinstance(label, Mapping):
            names = label.get("names")
            if isinstance(names, Mapping):  # by number
                names = [names[key] for key in sorted(names, key=int)]
            return list(map(str, names)) if isinstance(names, list) else None
        inner = ("feature", "sequence", "list", "dtype")
        feature = next((feature[key] for key in inner if isinstance(feature.get(key), Mapping | list)), None)
    return None


def _features(folder: str) -> dict[str, dict[str, Any]] | None:
    """Descriptions of columns by name, by the name of their configuration; None without a description."""
    for name, read in ((_README, _of_readme), (_INFOS, _of_infos)):
        file = RemotePath(folder).child(name)
        try:
            if not file.is_file():
                continue
            found = dict(read(file))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{file.url}: its description of the data set cannot be read: {reason}") from error
        if found:
            return found
    return None


def _of_readme(file: RemotePath) -> Iterator[tuple[str, dict[str, Any]]]:
    text = file.read().decode("utf-8", "replace").removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.startswith("---\n") or "\n---" not in text[3:]:
        return
    head = text[4 : text.index("\n---", 3) + 1]
    if "class_label" not in head:
        return
    if find_spec("yaml") is None:
        raise DataError(f"{file.url}: reading its names of labels needs PyYAML: pip install 'earmark[parquet]'")
    import yaml

    try:
        infos = (yaml.safe_load(head) or {}).get("dataset_info") or []
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    for info in [infos] if isinstance(infos, Mapping) else infos:
        features = info.get("features") or []
        yield str(info.get("config_name", "")), {str(each["name"]): each for each in features}


def _of_infos(file: RemotePath) -> Iterator[tuple[str, dict[str, Any]]]:
    for config, info in json.loads(file.read()).items():
        yield config, dict(info.get("features") or {})
