"""`earmark export`: a tagger as one ONNX file."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import CycloptsError, Parameter
from cyclopts.validators import Number
from rich.table import Table

from earmark import hub
from earmark.audio.recording import find_audio
from earmark.cli.clips import select
from earmark.cli.screen import (
    AsJson,
    Progress,
    Quiet,
    note,
    one_line,
    progress,
    refuse_overwriting,
    rounded,
    table_console,
    write_json,
)
from earmark.data.clips import Clip, FileAudio
from earmark.errors import AudioError


def export(
    model: str,
    out: Path,
    /,
    *,
    int8: Annotated[bool, Parameter(negative="")] = False,
    calibrate: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    split: str | None = None,
    n_clips: Annotated[int, Parameter(validator=Number(gte=1))] = 200,
    json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a tagger as one ONNX file, which runs without PyTorch.

    Args:
        model: A .safetensors checkpoint, a .pth of PANNs' Cnn10, or a name; it stays as it is.
        out: The .onnx file to write.
        int8: Compute the convolutions in 8 bits, faster, with scores that are a little off; needs --calibrate.
        calibrate: Folders of recordings like those to come, or sources and paths such as esc50:DIR.
        split: Calibrate with these splits, joined by commas, of each DATA; with all of it when not given.
        n_clips: Calibrate with so many clips of each DATA, evenly spread.
        json: Print a JSON summary.
        quiet: Nothing but errors on standard error.
    """
    if out.suffix != ".onnx" or out.is_dir():
        raise CycloptsError(f"OUT: a file that ends in .onnx was expected, not {out}")
    refuse_overwriting(out, [model])
    if int8 and not calibrate:
        raise CycloptsError("--int8 needs --calibrate DATA: recordings that show how large its numbers become")
    if calibrate and not int8:
        raise CycloptsError("--calibrate is for --int8: give both or none")
    if split is not None and not calibrate:
        raise CycloptsError("--split chooses clips of --calibrate DATA, which is missing")
    clips = [clip for spec in calibrate or () for clip in _spread(_clips(spec, split), n_clips)]
    network = hub.load_network(model)
    from earmark.export.onnx_file import export as write

    with progress("listening", quiet) as show:
        recordings = _recordings(clips, network.config.frontend.sample_rate, quiet, show) if int8 else None
        exported = write(network, out, recordings)
    if json:
        write_json({"model": model, "out": str(out), **exported._asdict(), "difference": rounded(exported.difference)})
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("precision", exported.precision)
    table.add_row("size", f"{exported.n_bytes / 1e6:.1f} MB")
    table.add_row("parity", f"scores differ by {exported.difference:.2g} at most from those of MODEL")
    console = table_console(sys.stdout)
    console.print(table)
    console.print(f"\n{out}", soft_wrap=True)


def _clips(spec: str, split: str | None) -> Sequence[Clip]:
    """Those of a source, or the recordings of a folder, which need no labels."""
    if not Path(spec).is_dir():
        return select(spec, split).clips
    return [Clip(str(file), (), FileAudio(file)) for file in find_audio(spec)]


def _spread(clips: Sequence[Clip], n_clips: int) -> list[Clip]:
    """So many clips at even distances, as data sets are sorted by label; all where there are fewer."""
    n_taken = min(n_clips, len(clips))
    return [clips[i * len(clips) // n_taken] for i in range(n_taken)]


def _recordings(clips: Sequence[Clip], sample_rate: int, quiet: bool, show: Progress) -> Iterator[np.ndarray]:
    """The sound of each clip that can be read; one that can't is told."""
    for done, clip in enumerate(clips, 1):
        try:
            yield clip.load(sample_rate).waveform
        except AudioError as error:
            note(f"not calibrated with: {one_line(error)}", quiet)
        show(done, len(clips))
