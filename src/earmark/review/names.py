"""Names of folders and clips that are safe on every system, for any label and recording."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from earmark.errors import DataError
from earmark.labels import check_label, normal_label
from earmark.storage.files import as_text

NOISE: Final = "_noise"
"""Folder of clips in which none of the labels sounds."""
PLOTS: Final = "plots"
"""Folder of the spectrograms."""

_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*%]|^[._]|[. ]$')
"""Characters that some system forbids in names, at their start or at their end; and `%`, which marks an escape."""
_RESERVED: Final = re.compile(rf"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9]|{PLOTS})(\..*)?")
_ESCAPE: Final = re.compile(r"(?:%[0-9A-F]{2})+")
_LONGEST: Final = 200
"""Bytes of a name; file systems take 255, and a temporary file has a longer name."""


def folder_of(label: str) -> str:
    """The name of the folder of a label; characters that are unsafe in names are escaped as in URLs.

    >>> folder_of("dog"), folder_of("a/b"), folder_of(".."), folder_of("_noise"), folder_of("plots")
    ('dog', 'a%2Fb', '%2E%2E', '%5Fnoise', '%70lots')

    Raises:
        DataError: The name would be too long.
    """
    name = _UNSAFE.sub(lambda found: _escaped(found[0]), label)
    if _RESERVED.fullmatch(name):
        name = _escaped(name[0]) + name[1:]
    if len(name.encode()) > _LONGEST:
        raise DataError(f"a label of at most {_LONGEST} bytes was expected as the name of a folder, got {label!r}")
    return name


def label_of(folder: str) -> str:
    """The label of a folder.

    >>> [label_of(folder_of(label)) for label in ("a/b", "..", "100 %", "Gänse", "_noise")]
    ['a/b', '..', '100 %', 'Gänse', '_noise']

    Raises:
        DataError: The name is no label.
    """
    try:
        label = normal_label(_ESCAPE.sub(lambda found: bytes.fromhex(found[0].replace("%", "")).decode(), folder))
        check_label(label)
    except (DataError, UnicodeDecodeError) as error:
        raise DataError(f"folder {folder!r}: expected the name of a label ({error}); rename the folder") from error
    return label


def clip_names(clips: Iterable[tuple[str, float, float | None]], suffix: str) -> list[str]:
    """A name for each clip, all different: its recording, onset in seconds and score.

    >>> clip_names([("day 1/street.wav", 12.4, 0.87), ("other/street.wav", 12.4, 0.87)], ".flac")
    ['street_00012.40s_0.870.flac', 'street_00012.40s_0.870-2.flac']

    Args:
        clips: Recording, onset (s) and score of each.
        suffix: Suffix of the names.
    """
    taken: dict[str, int] = {}
    names = []
    for recording, onset, score in clips:
        stem = (
            re.sub(r"[^\w .,()+=@-]", "-", as_text(PurePosixPath(recording.replace("\\", "/")).stem))
            .strip(" .")
            .lstrip("-")
        )
        stem = stem.encode()[:100].decode(errors="ignore") or "recording"
        name = f"{stem}_{onset:08.2f}s" + (f"_{score:.3f}" if score is not None else "")
        # systems that ignore case have one file for both spellings
        number = taken[name.casefold()] = taken.get(name.casefold(), 0) + 1
        names.append(f"{name}-{number}{suffix}" if number > 1 else f"{name}{suffix}")
    return names


def _escaped(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())
