"""The table of published models: where their weights are, and what is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from earmark.storage.download import PublishedFile

_PANNS: Final = "Kong et al. 2020, Zenodo 3987831"
_EFFICIENTAT: Final = "Schmid et al. 2023, README of fschmid56/EfficientAT"
_RELEASE: Final = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1"


@dataclass(frozen=True)
class PublishedModel:
    """A model whose weights others have published."""

    file: PublishedFile
    labels: str
    """Data set whose labels it scores."""
    n_labels: int
    mAP: float
    """On the evaluation clips of that data set, as published."""
    source: str
    """Where the mAP is published."""
    n_parameters: int
    n_multiplications: float
    """For a clip of 10 s: multiplications of the convolutions and linear layers."""
    licence: str

    @property
    def n_bytes(self) -> int:
        """Size of the file; where it is not published, that of its parameters."""
        return self.file.n_bytes or 4 * self.n_parameters


def _mn(name: str, mAP: str, n_parameters: int, n_multiplications: float, **file: object) -> PublishedModel:
    name = f"{name}_as_mAP_{mAP}.pt"
    published = PublishedFile(f"{_RELEASE}/{name}", name, **file)  # type: ignore[arg-type]
    return PublishedModel(
        published, "AudioSet", 527, int(mAP) / 1000, _EFFICIENTAT, n_parameters, n_multiplications, "MIT"
    )


PUBLISHED: Final[Mapping[str, PublishedModel]] = {
    # Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition"
    "panns-cnn10": PublishedModel(
        PublishedFile(
            "https://zenodo.org/record/3987831/files/Cnn10_mAP%3D0.380.pth?download=1",
            "Cnn10_mAP=0.380.pth",
            25_237_595,
            "md5:bfb1f1f9968938fa8ef4012b8471f5f6",
        ),
        "AudioSet",
        527,
        0.380,
        _PANNS,
        5_219_279,
        13.0e9,
        "CC BY 4.0",
    ),
    # Schmid et al., "Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge Distillation"
    "mn04": _mn(
        "mn04",
        "432",
        983_599,
        0.11e9,
        n_bytes=4_066_513,
        checksum="sha256:899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c",
    ),
    "mn05": _mn("mn05", "443", 1_430_000, 0.16e9),
    "mn10": _mn("mn10", "471", 4_880_000, 0.54e9),
    "mn20": _mn("mn20", "478", 17_910_000, 2.06e9),
    "mn40": _mn("mn40", "484", 68_430_000, 8.03e9),
}
"""The published models by name."""
