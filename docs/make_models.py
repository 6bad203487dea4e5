"""Writes docs/models.md: the models by name, as `earmark models` lists them."""

from pathlib import Path

from earmark.cli.models import HEADINGS, rows
from earmark.storage.files import atomic_write

_ABOVE = """# Models by name

Written by `make docs` from the table that `earmark models` prints; that command also says which files are in the cache
folder.

"""
_BELOW = """
`--model NAME`, `--init NAME` and `earmark.load("NAME")` take these names. The mAP is that of the source, on
AudioSet's evaluation clips or ESC-50's fold 5. Parameters and multiplications (convolutions and linear layers, for 10 s
of sound) are counted by the tests. If the publisher states no size, that of the parameters is shown.

A published file is downloaded once, into the cache folder (`EARMARK_CACHE`, or the system's place for caches). An
interrupted download continues. Its checksum is verified at each start; where none is published, the hash of the first
download is kept beside the file and used instead. Without a network, save the file in that folder under its
name, or give its path:

```text
earmark tag street.wav --model mn10_as_mAP_471.pt
```
"""


def page() -> str:
    """The page in Markdown."""
    lines = [HEADINGS, ("---", "---", "---:", "---", "---:", "---:", "---:", "---")]
    lines += [(f"`{name}`", *cells) for name, *cells in rows()]
    return _ABOVE + "".join(f"| {' | '.join(line)} |\n" for line in lines) + _BELOW


if __name__ == "__main__":
    with atomic_write(Path(__file__).parent / "models.md") as path:
        path.write_text(page(), encoding="utf-8")
