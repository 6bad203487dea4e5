"""`earmark thresholds`: a model's threshold of each label, as a table to edit."""

from earmark import hub
from earmark.cli import screen
from earmark.cli.flags import OutFile
from earmark.cli.labels import write_thresholds
from earmark.inference.events import label_thresholds


def thresholds(model: str = hub.DEFAULT_MODEL, /, *, out: OutFile = None) -> None:
    """Write the threshold of each label.

    Args:
        model: As for --model of `earmark tag`.
    """
    screen.refuse_overwriting(out, [model])
    tagger = hub.load(model)
    scores = label_thresholds(None, tagger.thresholds, tagger.labels).tolist()
    with screen.destination(out) as stream:
        write_thresholds(dict(zip(tagger.labels, scores, strict=True)), stream)
