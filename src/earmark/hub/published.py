"""The models by name: where their weights are, and what is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from earmark.storage.cache_folder import PublishedFile, cached_path

_ZENODO: Final = "https://zenodo.org/record/3987831"
_RELEASE: Final = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1"


@dataclass(frozen=True)
class NamedModel:
    """A model that is loaded by name."""

    file: PublishedFile | None
    """Where others have published its weights; None: in the package."""
    labels: str
    """Data set whose labels it scores."""
    n_labels: int
    mAP: float
    """On the held-out clips of that data set, as published."""
    source: str
    """Where the mAP is published."""
    n_parameters: int
    n_multiplications: float
    """Multiplications of the convolutions and linear layers for a clip of 10 s."""
    licence: str

    @property
    def n_bytes(self) -> int:
        """Size of the file; where it is not published, that of the parameters."""
        known = None if self.file is None else self.file.n_bytes
        return known or 4 * self.n_parameters

    def path(self) -> Path | None:
        """The file in the cache folder; None where it is not there yet, or the model is in the package."""
        path = None if self.file is None else cached_path(self.file)
        return path if path is not None and path.is_file() else None


def _mn(file: PublishedFile, mAP: float, n_parameters: int, n_multiplications: float) -> NamedModel:
    source = "[Schmid et al. 2023](https://github.com/fschmid56/EfficientAT)"
    return NamedModel(file, "AudioSet", 527, mAP, source, n_parameters, n_multiplications, "MIT")


def _panns(
    name: str, mAP: str, n_parameters: int, n_multiplications: float, md5: str | None, n_bytes: int | None = None
) -> NamedModel:
    checksum = None if md5 is None else f"md5:{md5}"
    file = PublishedFile(
        f"{_ZENODO}/files/{name}_mAP%3D{mAP}.pth?download=1", f"{name}_mAP={mAP}.pth", n_bytes, checksum
    )
    source = f"[Kong et al. 2020]({_ZENODO})"
    return NamedModel(file, "AudioSet", 527, float(mAP), source, n_parameters, n_multiplications, "CC BY 4.0")


def _release(name: str, n_bytes: int | None = None, checksum: str | None = None) -> PublishedFile:
    return PublishedFile(f"{_RELEASE}/{name}", name, n_bytes, checksum)


SHIPPED: Final[Mapping[str, NamedModel]] = {
    "earmark-esc50": NamedModel(
        None,
        "ESC-50",
        50,
        0.907,
        "fold 5, [model card](../src/earmark/hub/MODEL_CARD.md)",
        1_579_858,
        1.306e9,
        "CC BY-NC 3.0",
    ),
}
"""Models in the package, each as an exported `.onnx` file and as a checkpoint, with a card in `earmark/hub`."""
PUBLISHED: Final[Mapping[str, NamedModel]] = {
    # Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition"
    "panns-cnn10": _panns("Cnn10", "0.380", 5_219_279, 13.02e9, "bfb1f1f9968938fa8ef4012b8471f5f6", 25_237_595),
    "cnn14": _panns("Cnn14", "0.431", 80_753_615, 20.04e9, "541141fa2ee191a88f24a3219fff024e"),
    "cnn14-16k": _panns("Cnn14_16k", "0.438", 80_753_615, 20.04e9, "362fc5ff18f1d6ad2f6d464b45893f2c"),
    "resnet38": _panns("ResNet38", "0.434", 73_783_247, 23.39e9, "bf12f36aaabac4e0855e22d3c3239c1b"),
    "wavegram-logmel-cnn14": _panns(
        "Wavegram_Logmel_Cnn14", "0.439", 81_065_487, 25.67e9, "17fa9ab65af3c0eb5ffbc5f65552c4e1"
    ),
    "mobilenetv1": _panns("MobileNetV1", "0.389", 4_796_303, 0.740e9, "a419303e1c88aa1b9d2ac3811563d371"),
    "mobilenetv2": _panns("MobileNetV2", "0.383", 4_075_343, 0.342e9, None),
    # Schmid et al., "Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge Distillation"; its releases
    # have no checksums: that of mn04 is ours
    "mn04": _mn(
        _release(
            "mn04_as_mAP_432.pt", 4_066_513, "sha256:899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c"
        ),
        0.432,
        983_599,
        0.1106e9,
    ),
    "mn05": _mn(_release("mn05_as_mAP_443.pt"), 0.443, 1_431_239, 0.1600e9),
    "mn10": _mn(_release("mn10_as_mAP_471.pt"), 0.471, 4_876_831, 0.5411e9),
    "mn20": _mn(_release("mn20_as_mAP_478.pt"), 0.478, 17_909_287, 2.059e9),
    "mn40": _mn(_release("mn40_as_mAP_484.pt"), 0.484, 68_427_303, 8.028e9),
}
"""Models that others have published, downloaded when they are first loaded."""
