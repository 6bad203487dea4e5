"""Initial weights of a run: random, or from a checkpoint."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import torch

from earmark import hub
from earmark.data.clips import Dataset
from earmark.data.segment_store import ENCODER
from earmark.data.segments import segments_of
from earmark.errors import CheckpointError, counted
from earmark.labels import LabelSet
from earmark.model.head import Head, Stages
from earmark.model.network import Network, NetworkConfig
from earmark.storage.files import sha256_of
from earmark.training.batches import WEIGHTS, derived_seed
from earmark.training.settings import TrainConfig


def initial_stages(
    config: TrainConfig, data: Dataset, record: dict[str, Any], is_new: bool, show: Callable[[str], None]
) -> Network | Head:
    """The network of a run before its first step; a head, if the training clips have segments.

    Args:
        config: As for `initial_network`, like `record`, `is_new` and `show`.
        data: Training clips.
        record: `run.json`.
        is_new: Whether the run has no weights of its own yet.
        show: Shows a line to the user.

    Raises:
        CheckpointError: As for `initial_network`.
        ConfigError: As for `initial_network`.
    """
    segments = segments_of(data)
    if segments is None:
        return initial_network(config, data.labels, record, is_new, show)
    source, digest = _source(config, record, is_new)
    with torch.random.fork_rng([]):
        torch.manual_seed(derived_seed(config.seed, WEIGHTS))
        head = Head(config.head_config(segments.encoder.n_channels), data.labels)
    _start_at_share(head, data)
    head.extra["encoder"] = asdict(segments.encoder)
    if (folder := segments.table.folder) is not None and not (folder / ENCODER).exists():
        show(
            f"{segments.encoder.name}: an exported encoder has no weights to join, so the result scores encoded "
            "segments only; to tag recordings, encode with the .safetensors checkpoint"
        )
    if source is not None:
        taken, fresh, names = _take_over(head, source)
        record["init"] = {"model": config.init, "sha256": digest, "taken": taken, "labels": names}
        show(f"{config.init}: {_parts(head, taken, fresh, len(names))}")
    return head


@torch.no_grad()
def _start_at_share(head: Head, data: Dataset) -> None:
    """Sets the last bias so that the first scores are near the share of positives among known pairs of clip and label.

    Adam moves a bias by at most the learning rate a step: from a score of 0.5 it would take a thousand steps to get
    there (Lin et al. 2017, "Focal Loss for Dense Object Detection", section 4.1).
    """
    n_labels = len(data.labels)
    n_known = sum(n_labels if clip.known is None else len(clip.known) for clip in data)
    share = sum(len(clip.labels) for clip in data) / max(1, n_known)
    if 0 < share < 1:
        # a classifier that also makes attention weights has the logits first
        head.classifier[-1].get_parameter("bias")[:n_labels].fill_(math.log(share / (1 - share)))


def encoder_of(data: Dataset) -> Network | None:
    """The network that encoded the clips, if their store has it.

    Raises:
        CheckpointError: It cannot be read, or is another one than the store says.
    """
    segments = segments_of(data)
    if segments is None or segments.table.folder is None:
        return None
    path = segments.table.folder / ENCODER
    if not path.exists():  # made by an exported network, which has no weights to join
        return None
    network = Network.load(path)
    if network.encoder_sha256() != segments.encoder.sha256:
        raise CheckpointError(f"{path}: another encoder than the one that made the segments beside it; encode again")
    return network


def initial_network(
    config: TrainConfig, labels: LabelSet, record: dict[str, Any], is_new: bool, show: Callable[[str], None]
) -> Network:
    """The network of a run before its first step.

    It takes the front end, the backbone and all other weights of equal shape from the checkpoint of `config.init`, if
    any, and of the last layer the rows of common labels. All other weights are random, by the seed.

    Args:
        config: Settings of the run.
        labels: Labels to learn.
        record: `run.json`; its entry `init` receives what was taken from which file. A resumed run reads its network's
            config there.
        is_new: Whether the run has no weights of its own yet; later the file is not needed.
        show: Shows a line to the user.

    Raises:
        CheckpointError: The checkpoint cannot be read, or differs from the one that the run started with.
        ConfigError: Settings contradict the checkpoint.
    """
    known = record.get("init") if config.init is not None else None
    source, digest = _source(config, record, is_new)
    if source is not None and not isinstance(source, Network):
        raise CheckpointError(f"{config.init}: a head, without the encoder that clips with sound need")
    start = source.config if source is not None else known and NetworkConfig.from_json(known["network"])
    with torch.random.fork_rng([]):
        torch.manual_seed(derived_seed(config.seed, WEIGHTS))
        network = Network(config.network_config(start), labels)
    if source is not None:
        taken, fresh, names = _take_over(network, source)
        record["init"] = {"model": config.init, "sha256": digest, "network": source.config.to_json()}
        record["init"] |= {"taken": taken, "labels": names}
        show(f"{config.init}: {_summary(network, taken, fresh, len(names))}")
    return network


def _source(config: TrainConfig, record: dict[str, Any], is_new: bool) -> tuple[Head | Network | None, str]:
    """The model of the checkpoint `init`, and the SHA-256 of its file; None where there is none or it is not needed."""
    known = record.get("init")
    if config.init is None or not (is_new or known is None):
        return None, ""
    path = hub.find_checkpoint(config.init, "torch")
    digest = sha256_of(path)
    if known is not None and known["sha256"] != digest:
        raise CheckpointError(
            f"{config.init}: the run was started with another file (SHA-256 {known['sha256']}), this one has "
            f"{digest}; put it back or start another run"
        )
    return hub.load_stages(path), digest


@torch.no_grad()
def _take_over(network: Head | Network, source: Head | Network) -> tuple[list[str], list[str], list[str]]:
    """Copies the weights that fit; returns the parts copied, the parts left random, and the labels copied."""
    mine, theirs = network.state_dict(), source.state_dict()
    by_label = _weights_by_label(network)
    parts = {
        "backbone": "backbone.",
        "perceptron": "perceptron.",
        f"{network.config.pooling} pooling": "pooling.",
        "hidden layer": "classifier.",
    }
    taken: list[str] = []
    fresh: list[str] = []
    for part, prefix in parts.items():
        names = [name for name in mine if name.startswith(prefix) and name not in by_label]
        if not names:  # a pooling without weights, or a classifier of one layer
            continue
        fitting = [name for name in names if name in theirs and theirs[name].shape == mine[name].shape]
        for name in fitting:
            mine[name].copy_(theirs[name])
        (taken if fitting == names else fresh).append(part)
    of_source = _weights_by_label(source)
    by_label = [name for name in by_label if name in of_source and theirs[name].shape[1:] == mine[name].shape[1:]]
    pairs = _pairs(network.labels, source.labels) if by_label else []
    for name in by_label:
        # rows of all labels, then perhaps second rows of all labels
        blocks = zip(mine[name].split(len(network.labels)), theirs[name].split(len(source.labels)), strict=False)
        for into, values in blocks:
            for position, of_theirs in pairs:
                into[position].copy_(values[of_theirs])
    return taken, fresh, [network.labels.names[position] for position, _ in pairs]


def _weights_by_label(network: Head | Network) -> list[str]:
    """Names of the weights with a row for each label: the last layer, and at the instance level the pooling's own."""
    last = f"classifier.{len(network.classifier) - 1}."
    pooling = ("pooling.",) if network.pooling.level == "instance" else ()
    return [name for name in network.state_dict() if name.startswith((last, *pooling))]


def _pairs(mine: LabelSet, theirs: LabelSet) -> list[tuple[int, int]]:
    """Positions of the common labels, matched by id, or by name without regard to case and underscores."""
    by_name = {_plain(name): position for position, name in reversed(list(enumerate(theirs.names)))}
    pairs = []
    for position, (name, id_) in enumerate(zip(mine.names, mine.ids, strict=True)):
        # numbers are ids of other things in other sets
        found = theirs.index(id_) if id_ in theirs and not id_.isdigit() else by_name.get(_plain(name))
        if found is not None:
            pairs.append((position, found))
    return pairs


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ")


def _summary(network: Network, taken: Sequence[str], fresh: Sequence[str], n_labels: int) -> str:
    frontend = network.config.frontend
    return (
        f"{_parts(network, taken, fresh, n_labels)} ({frontend.sample_rate} Hz, {frontend.n_mels} mel bins, frames of "
        f"{1000 * frontend.seconds_per_frame:g} ms, width {network.config.width})"
    )


def _parts(network: Stages, taken: Sequence[str], fresh: Sequence[str], n_labels: int) -> str:
    n_all = len(network.labels)
    taken = [*taken, *([f"{n_labels} of {n_all} labels"] if n_labels else [])]
    n_new = n_all - n_labels
    fresh = [*fresh, *([counted(n_new, "label")] if n_new else [])]
    rest = f"; {_listed(fresh)} start with random weights" if fresh else ""
    return f"{_listed(taken) if taken else 'nothing'} taken over{rest}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
