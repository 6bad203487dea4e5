"""`earmark clips`: detections cut out of their recordings, to listen to them."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter

from earmark.audio.time_limit import set_time_limit
from earmark.cli.detections import ReadForm, reader_of
from earmark.cli.flags import EXISTING_FOLDER, FOLDER, AsJson, DecodeTimeout, Quiet
from earmark.cli.screen import note, progress, report_error, say, usage_errors, write_json
from earmark.errors import DataError, Limit, counted
from earmark.review.cutting import Clips, ClipsConfig, cut_clips, recordings_of

_DEFAULTS: Final = ClipsConfig()


def clips(
    events: Path,
    out: Annotated[Path, FOLDER],
    /,
    *,
    events_format: ReadForm | None = None,
    label_column: str | None = None,
    audio_root: Annotated[Path | None, EXISTING_FOLDER] = None,
    settings: Annotated[ClipsConfig, Parameter(name="*")] = _DEFAULTS,
    spectrograms: Annotated[bool, Parameter(negative="")] = False,
    jobs: Annotated[int | None, Limit(at_least=1)] = None,
    decode_timeout: DecodeTimeout = None,
    json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Cut detections out of their recordings.

    Args:
        events: Table of events of `earmark detect`, or another file of annotations.
        out: Folder of the clips: new, empty, or from the same command.
        events_format: Format of EVENTS; by default its suffix decides.
        label_column: Column of the labels in a table of Raven; by default Annotation, Species or a similar one.
        audio_root: Folder of the recordings if they have moved since.
        jobs: Recordings read at a time; by default one per processor.
        spectrograms: Draw the spectrogram of each clip into OUT/plots; needs the extra plot.
    """
    if spectrograms:
        from earmark.plots import require_matplotlib

        require_matplotlib()
    set_time_limit(decode_timeout)
    with usage_errors():
        form = reader_of(events, events_format, label_column)
    try:
        with progress("cutting", quiet) as show:
            cut = cut_clips(
                form.read(events),
                out,
                settings,
                find=recordings_of(events, audio_root),
                n_threads=jobs,
                progress=show,
            )
        for failed in cut.failed:
            report_error(f"{failed.error} ({counted(failed.n_clips, 'clip')} missing)")
        if spectrograms:
            from earmark.review.pictures import draw_clips

            with progress("drawing", quiet) as show:
                draw_clips(out, cut.rows, show)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("interrupted; finished clips are kept, and the same command continues") from None
    return _summary(cut, events, out, json, quiet)


def _summary(cut: Clips, events: Path, out: Path, json: bool, quiet: bool) -> int:
    if not cut.rows:
        first = cut.failed[0]
        raise DataError(f"{events}: no clip could be cut; {first.error}")
    n_clips = Counter(row.label for row in cut.rows)
    if json:
        failed = [failed._asdict() for failed in cut.failed]
        write_json({"out": str(out), "n_clips": len(cut.rows), "labels": dict(n_clips), "failed": failed})
    else:
        shown = ", ".join(f"{label} {n}" for label, n in sorted(n_clips.items()))
        say(f"{out}: {counted(len(cut.rows), 'clip')} ({shown})")
    note(
        "listen, move wrong clips into the folder of the right label or into _noise, or delete them; then: "
        f"earmark review {out}",
        quiet,
    )
    return int(bool(cut.failed))
