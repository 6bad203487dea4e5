"""The table of published models: where their weights are, and what is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from earmark.storage.download import PublishedFile

_PANNS: Final = "Kong et al. 2020, Zenodo 3987831"
_EFFICIENTAT: Final = "Schmid et al. 2023, README of fschmid56/EfficientAT"
_ZENODO: Final = "https://zenodo.org/record/3987831/files"
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


def _panns(
    name: str, mAP: str, n_parameters: int, n_multiplications: float, md5: str | None, n_bytes: int | None = None
) -> PublishedModel:
    checksum = None if md5 is None else f"md5:{md5}"
    published = PublishedFile(
        f"{_ZENODO}/{name}_mAP%3D{mAP}.pth?download=1", f"{name}_mAP={mAP}.pth", n_bytes, checksum
    )
    return PublishedModel(published, "AudioSet", 527, float(mAP), _PANNS, n_parameters, n_multiplications, "CC BY 4.0")


PUBLISHED: Final[Mapping[str, PublishedModel]] = {
    # Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition"
    "panns-cnn10": _panns("Cnn10", "0.380", 5_219_279, 13.0e9, "bfb1f1f9968938fa8ef4012b8471f5f6", 25_237_595),
    "cnn14": _panns("Cnn14", "0.431", 80_753_615, 20.0e9, "541141fa2ee191a88f24a3219fff024e"),
    "cnn14-16k": _panns("Cnn14_16k", "0.438", 80_753_615, 20.0e9, "362fc5ff18f1d6ad2f6d464b45893f2c"),
    "resnet38": _panns("ResNet38", "0.434", 73_783_247, 23.4e9, "bf12f36aaabac4e0855e22d3c3239c1b"),
    "wavegram-logmel-cnn14": _panns(
        "Wavegram_Logmel_Cnn14", "0.439", 81_065_487, 25.7e9, "17fa9ab65af3c0eb5ffbc5f65552c4e1"
    ),
    "mobilenetv1": _panns("MobileNetV1", "0.389", 4_796_303, 0.74e9, "a419303e1c88aa1b9d2ac3811563d371"),
    "mobilenetv2": _panns("MobileNetV2", "0.383", 4_075_343, 0.34e9, None),
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
