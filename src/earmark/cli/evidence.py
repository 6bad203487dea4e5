"""`earmark evidence`: which segments of a recording carry a tag."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal, TextIO

from cyclopts import Parameter

from earmark import hub
from earmark.audio.recording import load_audio
from earmark.audio.time_limit import set_time_limit
from earmark.audio.tracks import Track
from earmark.cli import screen
from earmark.cli.flags import DecodeTimeout, Device, Engine, FormatJson, Model, OutFile, Overlap, Quiet, SoundTrack
from earmark.errors import AudioError
from earmark.inference.evidence import Evidence
from earmark.plots.spectrogram import spectrogram_of


def evidence(
    file: Path,
    label: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    model: Model = hub.DEFAULT_MODEL,
    engine: Engine = "auto",
    device: Device = "auto",
    overlap: Overlap = None,
    track: SoundTrack = None,
    decode_timeout: DecodeTimeout = None,
    format: Literal["table", "json"] | None = None,
    out: OutFile = None,
    plot: Path | None = None,
    json: FormatJson = False,
    quiet: Quiet = False,
) -> int:
    """Show how far each segment of a recording raises or lowers the logit of a label.

    Args:
        file: A recording, or - for standard input.
        label: Name or id of a label.
        format: Table for people, or JSON; by default the suffix of --out decides.
        plot: Draw the spectrogram, the evidence and the attention into this .png, .svg or .pdf; needs the extra plot.
    """
    form = screen.chosen_form(format, json, out, _WRITERS)
    screen.check_files(out, plot, [model, file])
    set_time_limit(decode_timeout)
    with screen.usage_errors():
        tagger = hub.load(model, engine=engine, overlap=overlap, device=device)
    try:
        with screen.recording(file) as path:
            result = tagger.evidence(path, label, track=track)
            if plot is not None:
                _plot(plot, path, file, tagger.sample_rate, result, track)
    except AudioError as error:
        return screen.write_failure(str(file), error, form, out)
    with screen.destination(out) as stream:
        _WRITERS[form](str(file), result, stream)
    return 0


def _plot(plot: Path, path: Path, file: Path, sample_rate: int, evidence: Evidence, track: Track) -> None:
    from earmark.plots import plot_evidence

    onset = float(evidence.onsets[0])
    part = load_audio(path, sample_rate, onset, float(evidence.offsets[-1]) - onset, track)
    spectrogram = spectrogram_of([part.waveform], sample_rate, onset)
    named = "" if str(file) == "-" else f"{file.name}: "
    plot_evidence(plot, spectrogram, evidence, title=f"{named}why {evidence.label}, score {evidence.score:.2f}")


def _write_table(file: str, evidence: Evidence, stream: TextIO) -> None:
    from rich.text import Text

    console = screen.table_console(stream)
    span = f"{evidence.onsets[0]:.1f} - {evidence.offsets[-1]:.1f} s"
    console.print(f"{file}  {evidence.label}  score {evidence.score:.3f} in {span}", style="bold", soft_wrap=True)
    console.print("Effect of each segment on its logit (standard error): + supports the label (━), - opposes it (-).")
    weights = evidence.weights.tolist()
    largest = max(map(abs, weights)) or 1.0
    rows = []
    for onset, offset, weight, error in zip(
        evidence.onsets, evidence.offsets, weights, evidence.errors.tolist(), strict=True
    ):
        mark, colour = ("━", "green") if weight > 0 else ("-", "red")
        strength = Text(screen.bar(abs(weight) / largest, mark=mark), style=colour)
        rows.append(("", f"{onset:.1f} - {offset:.1f} s", f"{weight:+.3f}", f"({error:.3f})", strength))
    console.print(screen.table(rows))


def _write_json(file: str, evidence: Evidence, stream: TextIO) -> None:
    heads = evidence.attention
    value = {
        "file": file,
        "label": evidence.label,
        "score": screen.rounded(evidence.score),
        "onsets": screen.all_rounded(evidence.onsets.tolist()),
        "offsets": screen.all_rounded(evidence.offsets.tolist()),
        "weights": screen.all_rounded(evidence.weights.tolist()),
        "errors": screen.all_rounded(evidence.errors.tolist()),
        "attention": None if heads is None else [*map(screen.all_rounded, heads.tolist())],
    }
    screen.write_json(value, stream)


_WRITERS: Final[dict[str, Callable[[str, Evidence, TextIO], None]]] = {"table": _write_table, "json": _write_json}
