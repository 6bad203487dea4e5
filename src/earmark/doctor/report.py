"""The report of `earmark doctor`: the findings as JSON, and the facts about each clip as a table."""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from earmark.data.clips import Dataset, ids_sha256
from earmark.doctor.facts import FactsTable
from earmark.doctor.findings import Diagnosis, dbfs, label_counts, rounded
from earmark.doctor.kinds import KINDS, Limits
from earmark.storage.files import atomic_write
from earmark.storage.json_files import write_json

FORMAT: Final = 1
"""Format number of report.json; it grows when an entry changes its meaning."""
_FULL_RATE: Final = 32000
"""Sample rate of the paper's network in Hz."""
_EDGES: Final = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 300.0)
"""Lower edges of the histogram of durations in seconds."""
_COLUMNS: Final = (
    "id",
    "status",
    "findings",
    "split",
    "seconds",
    "sample_rate",
    "n_channels",
    "peak_dbfs",
    "clipped",
    "sha256",
    "reason",
)


@dataclass(frozen=True)
class Report:
    """The facts and findings about a data set."""

    dataset: Dataset
    """The data set without missing clips."""
    facts: FactsTable
    limits: Limits
    diagnosis: Diagnosis

    @property
    def clean_ids(self) -> list[str]:
        """Ids of the clean clips, in the order of the data set."""
        return [self.dataset[position].id for position in np.flatnonzero(self.diagnosis.is_clean).tolist()]

    @property
    def n_listed(self) -> int:
        """Number of clips that the source lists, missing ones included."""
        return len(self.dataset) + len(self.dataset.missing)

    @property
    def is_faultless(self) -> bool:
        """Whether all findings are of kinds that the limits keep."""
        return not any(items for kind, items in self.diagnosis.findings.items() if kind not in self.limits.keep)

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values.

        - `data`: name of the data set, with the chosen splits and labels.
        - `limits`: the settings, as in `Limits`.
        - `coverage`: number of clips `listed` by the source, `found` and `missing` (for all labels, and for all splits
          if the source does not give the split of a missing clip), the `share` found, and `clip_ids_sha256`, the
          SHA-256 of the sorted ids of the found clips, one a line.
        - `clips`: number of `readable` clips; their `seconds` in all, the `shortest`, the `median` and the `longest`
          duration; `durations`, a histogram whose bars count clips from `from` seconds up to the next bar;
          `sample_rates` and `channels` of recordings with the number of clips of each; `below_32_khz`, the share of
          clips with a lower sample rate, which leaves the upper mel bands of the paper's network empty.
        - `splits`: number of clips found in each split.
        - `labels`: number of clean clips of each label, `n_clips` in all and by `splits`.
        - `findings`: for each kind of `KINDS`, in that order: `kind`, `what` it is, `advice`, `n` and all `items`.
          An item about one clip has its `id`, and `reason`, `labels` (outside of the set), `seconds`, `promised`,
          `peak_dbfs` (null if all samples are 0), `share` or `warning`; an item about a sound of several clips has
          `clips` with `id`, `labels` and `split`; an item about a group has `group` (null: parts of one file), the
          number of clips in each of its `splits`, and `clips`; an item about a label is as in `labels`; an item about
          a damaged `part` of the source, a row or a file, has the `reason`. `coverage` does not count the clips of
          damaged parts, whose number is unknown.
        - `clean`: `n_clips` and `clip_ids_sha256` of the clean list, and the kinds that are `left_out` of it.
        """
        dataset, clean = self.dataset, self.clean_ids
        return {
            "earmark": "doctor",
            "format": FORMAT,
            "data": dataset.name,
            "limits": self.limits.to_json(),
            "coverage": {
                "listed": self.n_listed,
                "found": len(dataset),
                "missing": len(dataset.missing),
                "share": rounded(len(dataset) / self.n_listed),
                "clip_ids_sha256": dataset.clip_ids_sha256(),
            },
            "clips": self._sounds(),
            "splits": dict(sorted(Counter(clip.split for clip in dataset if clip.split).items())),
            "labels": self._labels(),
            "findings": self._findings(),
            "clean": {
                "n_clips": len(clean),
                "clip_ids_sha256": ids_sha256(clean),
                "left_out": sorted({"damaged", "missing", "unreadable"} | self.limits.left_out),
            },
        }

    def _sounds(self) -> dict[str, Any]:
        readable = ~self.diagnosis.clips["unreadable"]
        seconds = self.facts.column("seconds")[readable]
        rates = self.facts.column("sample_rate")[readable]
        rates = rates[rates > 0]
        n_channels = self.facts.column("n_channels")[readable]
        counts = np.histogram(seconds, (*_EDGES, np.inf))[0]
        some = len(seconds) > 0
        return {
            "readable": len(seconds),
            "seconds": rounded(seconds.sum()),
            "shortest": rounded(seconds.min()) if some else None,
            "median": rounded(np.median(seconds)) if some else None,
            "longest": rounded(seconds.max()) if some else None,
            "durations": [{"from": edge, "n": int(n)} for edge, n in zip(_EDGES, counts, strict=True)],
            "sample_rates": _counted(rates),
            "below_32_khz": rounded(np.mean(rates < _FULL_RATE)) if len(rates) else None,
            "channels": _counted(n_channels[n_channels > 0]),
        }

    def _findings(self) -> list[dict[str, Any]]:
        findings = self.diagnosis.findings
        return [
            {
                "kind": kind,
                "what": self.limits.what(kind),
                "advice": about.advice,
                "n": len(findings[kind]),
                "items": findings[kind],
            }
            for kind, about in KINDS.items()
        ]

    def _labels(self) -> list[dict[str, Any]]:
        counts = label_counts(self.dataset, self.diagnosis.is_clean)
        return [{"label": label, "n_clips": by.pop(""), "splits": by} for label, by in counts.items()]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Rows of `clips.csv`: each clip in the order of the data set, then the missing ones."""
        of_clips = {kind: marks for kind, marks in self.diagnosis.clips.items() if marks.any()}
        for position, clip in enumerate(self.dataset):
            facts = self.facts[position]
            kinds = ";".join(kind for kind, marks in of_clips.items() if marks[position])
            row = {"id": clip.id, "findings": kinds, "split": clip.split}
            if facts.error is not None:
                yield {**row, "status": "unreadable", "reason": facts.error}
                continue
            peak = dbfs(facts.peak)
            yield {
                **row,
                "status": "clean" if self.diagnosis.is_clean[position] else "left-out",
                "seconds": rounded(facts.seconds),
                "sample_rate": facts.sample_rate or None,
                "n_channels": facts.n_channels or None,
                "peak_dbfs": "-inf" if peak is None else peak,
                "clipped": rounded(facts.clipped),
                "sha256": facts.sha256,
                "reason": facts.warning,
            }
        for id_ in self.dataset.missing:
            yield {"id": id_, "status": "missing", "findings": "missing"}

    def save(self, folder: Path) -> None:
        """Writes `report.json` and `clips.csv` into a folder.

        Raises:
            OSError: The folder cannot be written.
        """
        with (
            atomic_write(folder / "clips.csv") as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream,
        ):
            writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows())
        write_json(folder / "report.json", self.to_json())


def _counted(values: np.ndarray) -> dict[str, int]:
    kinds, counts = np.unique(values, return_counts=True)
    return {str(kind): int(n) for kind, n in zip(kinds.tolist(), counts.tolist(), strict=True)}
