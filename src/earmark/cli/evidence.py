"""`earmark evidence`: which segments of a recording carry a tag."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal, TextIO

from cyclopts import Parameter
from rich.table import Table
from rich.text import Text

from earmark import hub
from earmark.audio.recording import load_audio
from earmark.cli.screen import (
    AsJson,
    Quiet,
    bar,
    check_picture,
    chosen_form,
    destination,
    recording,
    refuse_overwriting,
    rounded,
    table_console,
    write_failure,
    write_json,
)
from earmark.errors import AudioError
from earmark.inference.evidence import Evidence
from earmark.plots.spectrogram import spectrogram_of


def evidence(
    file: Path,
    label: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    model: str = hub.DEFAULT_MODEL,
    format: Literal["table", "json"] | None = None,
    out: Path | None = None,
    plot: Path | None = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Show which segments of a recording carry a tag: how far its logit falls without each segment.

    Args:
        file: A recording, or - for standard input.
        label: Name or id of a label.
        model: earmark-esc50, panns-cnn10, or a .safetensors checkpoint, an exported .onnx, a .pth of PANNs' Cnn10.
        format: Table for people, or JSON; by default the suffix of --out decides.
        out: Write to this file instead of standard output.
        plot: Draw the spectrogram, the evidence and the attention into this .png, .svg or .pdf.
        json: Short for --format json.
        quiet: Print nothing but errors on standard error.
    """
    form = chosen_form(format, json, out, _WRITERS)
    refuse_overwriting(out, [model, file])
    check_picture(plot, [model, file, *([out] if out is not None else [])])
    tagger = hub.load(model)
    try:
        with recording(file) as path:
            result = tagger.evidence(path, label)
            if plot is not None:
                _plot(plot, path, file, tagger.sample_rate, result)
    except AudioError as error:
        return write_failure(str(file), error, form, out)
    with destination(out) as stream:
        _WRITERS[form](str(file), result, stream)
    return 0


def _plot(plot: Path, path: Path, file: Path, sample_rate: int, evidence: Evidence) -> None:
    from earmark.plots import plot_evidence

    onset = float(evidence.onsets[0])
    part = load_audio(path, sample_rate, onset, float(evidence.offsets[-1]) - onset)
    spectrogram = spectrogram_of([part.waveform], sample_rate, onset)
    named = "" if str(file) == "-" else f"{file.name}: "
    plot_evidence(plot, spectrogram, evidence, title=f"{named}why {evidence.label}, score {evidence.score:.2f}")


def _write_table(file: str, evidence: Evidence, stream: TextIO) -> None:
    console = table_console(stream)
    span = f"{evidence.onsets[0]:.1f} - {evidence.offsets[-1]:.1f} s"
    console.print(f"{file}  {evidence.label}  score {evidence.score:.3f} in {span}", style="bold", soft_wrap=True)
    console.print("Fall of its logit without each segment: + supports the label (━), - opposes it (-).")
    weights = evidence.weights.tolist()
    largest = max(map(abs, weights)) or 1.0
    table = Table.grid(padding=(0, 2))
    for onset, offset, weight in zip(evidence.onsets, evidence.offsets, weights, strict=True):
        supports = weight > 0
        strength = bar(abs(weight) / largest, mark="━" if supports else "-")
        # the colour repeats the mark, for readers who see it
        styled = Text(strength, style="green" if supports else "red")
        table.add_row("", f"{onset:.1f} - {offset:.1f} s", f"{weight:+.3f}", styled)
    console.print(table)


def _write_json(file: str, evidence: Evidence, stream: TextIO) -> None:
    attention = evidence.attention
    write_json(
        {
            "file": file,
            "label": evidence.label,
            "score": rounded(evidence.score),
            "onsets": [rounded(onset) for onset in evidence.onsets.tolist()],
            "offsets": [rounded(offset) for offset in evidence.offsets.tolist()],
            "weights": [rounded(weight) for weight in evidence.weights.tolist()],
            "attention": None if attention is None else [[rounded(w) for w in head] for head in attention.tolist()],
        },
        stream,
    )


_WRITERS: Final[dict[str, Callable[[str, Evidence, TextIO], None]]] = {"table": _write_table, "json": _write_json}
