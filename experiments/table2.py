"""Table 2: published results on AudioSet, beside any network measured on it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from earmark.errors import DataError
from earmark.labels import LabelSet

N_EVALUATION_CLIPS: Final = 20_371
"""Number of clips in AudioSet's evaluation list; many are no longer available."""

_EMBEDDINGS: Final = "released embeddings"
_PANNS: Final = "Kong et al. 2020, arXiv:1912.10211"
_PANNS_CLIPS: Final = "18,887 clips"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Published figures of one network on AudioSet's evaluation clips."""

    model: str
    year: int
    mAP: float
    mAUC: float | None = None
    """None, like the next two, if the source does not state it."""
    d_prime: float | None = None
    n_parameters: int | None = None
    measured_on: str = "not stated"
    """Evaluation clips that were used."""
    reference: str
    note: str = ""
    """Remark for a fair comparison."""


LITERATURE: Final = (
    Entry(
        model="benchmark",
        year=2017,
        mAP=0.314,
        mAUC=0.959,
        d_prime=2.452,
        measured_on=_EMBEDDINGS,
        reference="Gemmeke et al., ICASSP 2017",
    ),
    Entry(
        model="multi-level attention",
        year=2018,
        mAP=0.360,
        mAUC=0.970,
        d_prime=2.660,
        measured_on=_EMBEDDINGS,
        reference="Yu et al., DCASE 2018",
        note="the paper's table calls it Xu et al.",
    ),
    Entry(
        model="attention networks, feature level",
        year=2019,
        mAP=0.369,
        mAUC=0.969,
        d_prime=2.640,
        measured_on=_EMBEDDINGS,
        reference="Kong et al., TASLP 27, 2019",
    ),
    Entry(
        model="deep residual network",
        year=2019,
        mAP=0.392,
        mAUC=0.971,
        d_prime=2.682,
        reference="Ford et al., Interspeech 2019",
        note="the paper's table calls it Logan et al.",
    ),
    Entry(
        model="PANNs Wavegram-Logmel-CNN",
        year=2020,
        mAP=0.439,
        mAUC=0.973,
        d_prime=2.720,
        n_parameters=81_065_487,
        measured_on=_PANNS_CLIPS,
        reference=_PANNS,
        note="takes waveform and log-mel",
    ),
    Entry(
        model="GMAP (4 heads)",
        year=2020,
        mAP=0.417,
        mAUC=0.971,
        d_prime=2.678,
        n_parameters=6_531_535,
        reference="Hong et al., the paper",
        note="parameters counted here, the paper gives none",
    ),
)
"""The rows of the paper's Table 2."""

FURTHER: Final = (
    Entry(
        model="PANNs Cnn10",
        year=2020,
        mAP=0.380,
        mAUC=0.971,
        d_prime=2.678,
        n_parameters=5_219_279,
        measured_on=_PANNS_CLIPS,
        reference=_PANNS,
        note="the paper's backbone with max + average pooling, at 10 ms a frame",
    ),
    Entry(
        model="PANNs Cnn14",
        year=2020,
        mAP=0.431,
        mAUC=0.973,
        d_prime=2.732,
        n_parameters=80_753_615,
        measured_on=_PANNS_CLIPS,
        reference=_PANNS,
    ),
    Entry(
        model="PSLA",
        year=2021,
        mAP=0.444,
        n_parameters=13_600_000,
        reference="Gong et al. 2021, arXiv:2102.01243",
        note="one network, trained on images first",
    ),
    Entry(
        model="AST",
        year=2021,
        mAP=0.459,
        n_parameters=86_600_000,
        measured_on="19,185 clips",
        reference="Gong et al. 2021, arXiv:2104.01778",
        note="one network, trained on images first, weights averaged",
    ),
    Entry(
        model="PaSST-S",
        year=2022,
        mAP=0.476,
        reference="Koutini et al. 2022, arXiv:2110.05069",
        note="the published weights; trained on images first, weights averaged",
    ),
    Entry(
        model="EfficientAT mn10",
        year=2022,
        mAP=0.471,
        n_parameters=4_880_000,
        reference="Schmid et al. 2022, arXiv:2211.04772",
        note="the published weights; learned from transformers, trained on images first",
    ),
)
"""The paper's backbone in other work, and later networks; no ensembles."""


def table2(report: Path | None = None) -> str:
    """The literature table as Markdown, with a row for the network of a report.

    Args:
        report: A `report.json` of `earmark evaluate` on AudioSet's evaluation clips.

    Raises:
        DataError: The file is not such a report, or has other labels or too many clips.
    """
    lines = [
        "# Table 2: AudioSet tagging in the literature",
        "",
        "| model | year | mAP | mAUC | d' | parameters | measured on | reference |",
        "|---|---|---|---|---|---|---|---|",
        *map(_row, LITERATURE),
        *map(_row, FURTHER),
    ]
    if report is not None:
        lines.append(_measured_row(report))
    lines += [
        "",
        f"The first {len(LITERATURE)} rows are the paper's own table, figures as published; the others are single "
        "networks from the sources named. A dash: not stated by the source. d' is computed from the mean AUC.",
        "",
        f"AudioSet lists {N_EVALUATION_CLIPS:,} evaluation clips. Each study used the ones that were still online, so "
        "a difference of a few thousandths between rows measured on different clips means little.",
        "",
        *(f"- {entry.model} ({entry.year}): {entry.note}" for entry in (*LITERATURE, *FURTHER) if entry.note),
    ]
    return "\n".join(lines) + "\n"


def _row(entry: Entry) -> str:
    cells = (
        entry.model,
        str(entry.year),
        _digits(entry.mAP),
        _digits(entry.mAUC),
        _digits(entry.d_prime),
        _millions(entry.n_parameters),
        entry.measured_on,
        entry.reference,
    )
    return f"| {' | '.join(cells)} |"


def _measured_row(path: Path) -> str:
    """The row of a report, if its figures are comparable with this table."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        labels, n_clips = [figures["label"] for figures in report["labels"]], int(report["n_clips"])
        row = _row_of_report(report)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: a report.json of `earmark evaluate` was expected, this is none ({error})") from error
    audioset = LabelSet.audioset()
    found = {audioset.index(label) for label in labels if label in audioset}
    if len(found) < len(audioset) or len(labels) > len(audioset):
        raise DataError(
            f"{path}: figures of AudioSet's {len(audioset)} labels were expected, it has {len(labels)} labels, "
            f"{len(found)} of them AudioSet's; evaluate on AudioSet's evaluation clips"
        )
    if n_clips > N_EVALUATION_CLIPS:
        raise DataError(
            f"{path}: measured on {n_clips:,} clips, but AudioSet has only {N_EVALUATION_CLIPS:,} evaluation clips; "
            "evaluate on those alone"
        )
    return row


def _row_of_report(report: dict[str, Any]) -> str:
    low, high = report["mAP_interval"]
    n_positive = report["n_labels_with_positives"]
    labels = "" if n_positive == report["n_labels"] else f", {n_positive} labels with a positive"
    model = " ".join(str(report["model"]).split()).replace("|", "\\|")
    cells = (
        f"**{model}**",
        "",
        f"**{_digits(report['mAP'])}** ({_digits(low)} to {_digits(high)})",
        _digits(report["mAUC"]),
        _digits(report["d_prime"]),
        _millions(report.get("n_parameters")),
        f"{report['n_clips']:,} clips{labels}; ids `{report['clip_ids_sha256'][:12]}`",
        "measured with `earmark evaluate`; 95 % interval",
    )
    return f"| {' | '.join(cells)} |"


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _millions(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:.3g} M"
