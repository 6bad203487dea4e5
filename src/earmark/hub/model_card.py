"""The card of a model on the Hugging Face Hub: a page with metadata that the Hub reads."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from earmark.errors import ConfigError, DataError
from earmark.hub.published import PUBLISHED, SHIPPED
from earmark.inference.tagger import Tagger

_LICENCE: Final = re.compile(r"[a-z0-9][a-z0-9.-]*")
_METRICS: Final = {"mAP": "mAP", "mAUC": "mAUC", "d_prime": "d'", "top1": "top-1 accuracy"}
"""Figures of a report, with their names on the card."""
_FACTS: Final = {"data": "trained on", "origin": "origin", "clips_seen": "clips seen", "seed": "seed"}
"""Facts in a checkpoint that the card names."""


def licence_of(model: str, given: str | None) -> str:
    """The licence of a model as the Hub spells it, such as cc-by-4.0: the given one, or that of a model by name.

    Raises:
        ConfigError: None is given and the model has no name, or the Hub would not spell it like this.
    """
    if given is None:
        named = {**SHIPPED, **PUBLISHED}.get(model)
        if named is None:
            raise ConfigError("the licence of the weights was expected, such as apache-2.0 or cc-by-4.0", "licence")
        return named.licence.lower().replace(" ", "-")
    if not _LICENCE.fullmatch(given):
        raise ConfigError(f"an identifier such as apache-2.0 or cc-by-4.0 was expected, not {given!r}", "licence")
    return given


def card(
    tagger: Tagger,
    repository: str,
    licence: str,
    extras: str,
    facts: Mapping[str, Any],
    network: Mapping[str, Any],
    report: Mapping[str, Any] | None = None,
) -> str:
    """The card as Markdown with YAML front matter.

    Args:
        tagger: The model.
        repository: OWNER/NAME.
        licence: The licence as the Hub spells it.
        extras: Extras of earmark that the model needs.
        facts: Facts of the checkpoint, such as its training data.
        network: Settings of the network.
        report: `report.json` of `earmark evaluate`.

    Raises:
        DataError: The report is not one of `earmark evaluate`.
    """
    name = repository.partition("/")[2]
    metadata: dict[str, Any] = {
        "license": licence,
        "library_name": "earmark",
        "pipeline_tag": "audio-classification",
        "tags": ["audio-tagging", "sound-event-detection", "earmark"],
        "labels": list(tagger.labels.names),
    }
    measured = []
    if report is not None:
        figures = figures_of(report)
        metadata["metrics"] = list(figures)
        metadata["model-index"] = [_index(name, str(report["data"]), figures)]
        about = f"On {report['n_clips']} clips of {report['data']}, measured by `earmark evaluate`:\n"
        measured = [about, _table("figure", "value", {_METRICS[key]: f"{each:.4f}" for key, each in figures.items()})]
    parts = [
        f"---\n{_front_matter(metadata)}---\n",
        f"# {name}\n",
        "Tags the sounds in a recording and says when they happen, with earmark.\n",
        f"```sh\npip install 'earmark[{extras}]'\nearmark tag recording.wav --model hf://{repository}\n```\n",
        f'```python\nimport earmark\n\ntagger = earmark.load("hf://{repository}")\n'
        'tagger.tag("recording.wav", top=5)\ntagger.timeline("recording.wav").events()\n```\n',
        _table("property", "value", {**_properties(tagger, facts, network), "licence": licence}),
        *measured,
        f"## Labels\n\n{', '.join(map(_escaped, tagger.labels.names))}\n",
    ]
    return "\n".join(parts)


def _properties(tagger: Tagger, facts: Mapping[str, Any], network: Mapping[str, Any]) -> dict[str, str]:
    clip = tagger.engine.clip_duration
    return {
        "labels": str(len(tagger.labels)),
        "sample rate": f"{tagger.sample_rate} Hz",
        "length of a segment": f"{tagger.seconds_per_segment:g} s",
        "length of the training clips": "not stated" if clip is None else f"{clip:g} s",
        "backbone": str(network.get("backbone", "not stated")),
        "pooling": str(network.get("pooling", "not stated")),
        "thresholds": "0.5 for each label" if tagger.thresholds is None else "one for each label, in the file",
        **{text: str(facts[key]) for key, text in _FACTS.items() if facts.get(key) is not None},
    }


def figures_of(report: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a report that are defined.

    Raises:
        DataError: The report is not one of `earmark evaluate`.
    """
    if not {"mAP", "data", "n_clips"} <= set(report):
        raise DataError("the report.json of `earmark evaluate MODEL DATA --out DIR` was expected, this is another file")
    return {key: float(report[key]) for key in _METRICS if isinstance(report.get(key), int | float)}


def _index(name: str, data: str, figures: Mapping[str, float]) -> dict[str, Any]:
    """The entry of the Hub's leaderboards."""
    slug = re.sub(r"[^a-z0-9]+", "-", data.lower()).strip("-")
    metrics = [{"type": key, "value": round(value, 4), "name": _METRICS[key]} for key, value in figures.items()]
    task = {"type": "audio-classification", "name": "Audio tagging"}
    return {"name": name, "results": [{"task": task, "dataset": {"type": slug, "name": data}, "metrics": metrics}]}


def _front_matter(values: Mapping[str, Any]) -> str:
    """YAML: a line for each value and for each element of a list, itself in JSON, which is YAML too."""
    lines = []
    for key, value in values.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            lines += [f"{key}:", *(f"- {json.dumps(each, ensure_ascii=False)}" for each in value)]
        else:
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _table(first: str, second: str, rows: Mapping[str, str]) -> str:
    lines = [f"| {first} | {second} |", "|---|---|", *(f"| {key} | {_escaped(text)} |" for key, text in rows.items())]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is: labels and names come from users."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
