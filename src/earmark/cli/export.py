"""`earmark export`: writes a tagger as one ONNX file."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import CycloptsError, Parameter

from earmark import hub
from earmark.audio.recording import find_audio
from earmark.cli import screen
from earmark.cli.flags import AsJson, Count, Quiet
from earmark.cli.selection import select
from earmark.data.clips import Clip, FileAudio
from earmark.errors import AudioError


def export(
    model: str,
    out: Path,
    /,
    *,
    float16: Annotated[bool, Parameter(negative="")] = False,
    int8: Annotated[bool, Parameter(negative="")] = False,
    calibrate: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    split: str | None = None,
    n_clips: Count = 200,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a tagger as one ONNX file that runs without PyTorch.

    Args:
        model: A .safetensors checkpoint, weights of a published model, or a name; it is not changed.
        out: The .onnx file to write.
        float16: Store the weights in half precision: half the size, scores differ by some 0.001.
        int8: Run convolutions in 8 bits, store other weights in 16: faster, scores differ slightly; needs --calibrate.
        calibrate: Folders of typical recordings, or sources and paths such as esc50:DIR.
        split: Calibrate with these splits, joined by commas, of each source; otherwise with all clips.
        n_clips: Clips of each source to calibrate with, evenly spread.
    """
    if out.suffix != ".onnx" or out.is_dir():
        raise CycloptsError(f"OUT: expected a file that ends in .onnx, got {out}")
    screen.refuse_overwriting(out, [model])
    if int8 and not calibrate:
        raise CycloptsError("--int8 needs --calibrate DATA: recordings that determine the ranges of its values")
    if int8 and float16:
        raise CycloptsError("--int8 and --float16 exclude each other: choose one")
    if calibrate and not int8:
        raise CycloptsError("--calibrate is only for --int8; give both or neither")
    if split is not None and not calibrate:
        raise CycloptsError("--split selects clips of --calibrate DATA; give --calibrate too")
    clips = [clip for spec in calibrate or () for clip in _spread(_clips(spec, split), n_clips)]
    network = hub.load_network(model)
    from earmark.export.onnx_file import export as write

    with screen.progress("scoring", quiet) as show:
        recordings = _recordings(clips, network.config.frontend.sample_rate, quiet, show) if int8 else None
        exported = write(network, out, recordings, float16=float16)
    if json:
        summary = {"model": model, "out": str(out), **exported._asdict()}
        screen.write_json({**summary, "difference": screen.rounded(exported.difference)})
        return
    rows = [
        ("precision", exported.precision),
        ("size", f"{exported.n_bytes / 1e6:.1f} MB"),
        ("parity", f"scores differ by at most {exported.difference:.2g} from those of MODEL"),
    ]
    screen.table_console(sys.stdout).print(screen.table(rows))
    screen.say(f"\n{out}")


def _clips(spec: str, split: str | None) -> Sequence[Clip]:
    """The clips of a source, or the recordings of a folder, without labels."""
    if not Path(spec).is_dir():
        return select(spec, split).clips
    return [Clip(str(file), (), FileAudio(file)) for file in find_audio(spec)]


def _spread(clips: Sequence[Clip], n_clips: int) -> list[Clip]:
    """At most `n_clips` clips, evenly spaced because data sets are sorted by label."""
    n_taken = min(n_clips, len(clips))
    return [clips[i * len(clips) // n_taken] for i in range(n_taken)]


def _recordings(clips: Sequence[Clip], sample_rate: int, quiet: bool, show: screen.Progress) -> Iterator[np.ndarray]:
    """The waveforms of the readable clips; the others are reported."""
    for done, clip in enumerate(clips, 1):
        try:
            yield clip.load(sample_rate).waveform
        except AudioError as error:
            screen.note(f"skipped for calibration: {screen.one_line(error)}", quiet)
        show(done, len(clips))
