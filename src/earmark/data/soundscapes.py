"""Soundscapes: weakly labelled clips mixed from a bank of single sounds; the true event times are kept separately."""

import json
import os
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np

from earmark.audio.recording import samples_to_seconds, save_audio, seconds_to_samples
from earmark.data.clips import GROUP_SEPARATOR, Clip, Dataset, sources
from earmark.data.damage import Damage
from earmark.data.joined_labels import join_labels
from earmark.data.manifest import read_listed_clips
from earmark.data.mixing import PlacedSound, Soundscape, active_sound
from earmark.data.tables import drop_missing, drop_outside
from earmark.errors import ConfigError, DataError, Limit, check_settings
from earmark.labels import LabelSet
from earmark.parallel.prefetch import in_threads
from earmark.parallel.processors import n_processors
from earmark.storage.differences import differences
from earmark.storage.files import atomic_write
from earmark.storage.json_files import json_value, write_json
from earmark.storage.text_files import row_writer

_FORMAT = 1
TRUTH_COLUMNS = ("filename", "onset", "offset", "event_label", "gain_db")
"""Columns of `truth.tsv`, as in DCASE's tables, and the level."""
_MANIFEST_COLUMNS = ("path", "labels", "split", "group")


@dataclass(frozen=True)
class SoundscapeConfig:
    """How soundscapes are drawn. A pair is a range; values are drawn uniformly from it unless noted."""

    duration: Annotated[float, Limit(above=0)] = 10.0
    """Duration of a soundscape in seconds."""
    sample_rate: Annotated[int, Limit(at_least=1000)] = 32000
    """Sample rate in Hz; the default is the rate of the paper's front end."""
    n_events: Annotated[tuple[int, int], Limit(at_least=1)] = (1, 4)
    """Fewest and most events per soundscape, each with a different label."""
    event_duration: Annotated[tuple[float, float], Limit(at_least=0.01)] = (0.3, 4.0)
    """Shortest and longest cut of a sound in seconds, drawn log-uniformly up to the length of its active part."""
    snr_db: tuple[float, float] = (6.0, 30.0)
    """Lowest and highest level of an event above the background in dB (RMS); the default is DESED's range."""
    background_db: Annotated[tuple[float, float], Limit(at_most=0)] = (-50.0, -30.0)
    """Lowest and highest RMS of the background in dB relative to full scale."""
    background_tilt: tuple[float, float] = (0.0, 2.0)
    """Spectral tilt of the background, power ~ 1 / f^tilt (0 white, 1 pink, 2 brown)."""
    fade: Annotated[float, Limit(at_least=0, at_most=1)] = 0.008
    """Fade at each end of a cut, in seconds."""
    seed: Annotated[int, Limit(at_least=0)] = 0
    """Random seed; soundscape i depends only on the seed, the bank, the other settings and i."""

    def __post_init__(self) -> None:
        check_settings(self)
        if self.event_duration[1] > self.duration:
            raise ConfigError(
                f"at most the duration of {self.duration} s was expected, not {self.event_duration}", "event_duration"
            )


class TruthEvent(NamedTuple):
    """An event in a soundscape: a row of a DCASE table, and its level."""

    filename: str
    onset: float
    offset: float
    label: str
    gain_db: float
    """RMS of the event over RMS of the background, in dB."""


@dataclass(frozen=True)
class Soundscapes:
    """Soundscapes that are mixed when they are read.

    `dataset` holds clips with weak labels, for training; `truth` holds the event times.
    """

    dataset: Dataset
    config: SoundscapeConfig
    bank_fingerprint: str
    """Fingerprint of the sound bank."""

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def truth(self) -> list[TruthEvent]:
        """All events, clip by clip, by onset."""
        events = []
        for clip, recipe in zip(self.dataset, self.recipes, strict=True):
            for sound in sorted(recipe.sounds, key=lambda sound: (sound.onset, sound.label)):
                onset = samples_to_seconds(sound.onset, recipe.sample_rate)
                offset = samples_to_seconds(sound.onset + sound.n_samples, recipe.sample_rate)
                events.append(TruthEvent(_filename(clip), onset, offset, sound.label, sound.gain_db))
        return events

    @property
    def recipes(self) -> tuple[Soundscape, ...]:
        """The recipe of each clip."""
        return tuple(clip.audio for clip in self.dataset if isinstance(clip.audio, Soundscape))


def mix_soundscapes(
    bank: Dataset,
    config: SoundscapeConfig,
    n_clips: int,
    *,
    split: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Soundscapes:
    """Draws soundscapes from a bank of single sounds, each with exactly one label.

    Use `bank.select(splits=...)` first, so that soundscapes of different splits share no source. The group of a
    soundscape joins the groups of its sounds by `+`.

    Args:
        bank: The single sounds; drawn sounds are decoded once to find their active parts.
        config: Ranges to draw from, and the seed.
        n_clips: Number of soundscapes.
        split: Name of the soundscapes' split.
        progress: Called with the number of soundscapes drawn so far and `n_clips`.

    Raises:
        DataError: The bank has sounds with several labels or none, too few labels, or silent sounds.
        AudioError: A sound cannot be read.
    """
    if n_clips < 1:
        raise DataError(f"expected 1 or more soundscapes, got {n_clips}")
    labelled, fingerprint = _by_label(bank), bank.fingerprint()
    if len(labelled) < config.n_events[1]:
        raise DataError(
            f"{bank.name}: a soundscape has up to {config.n_events[1]} events of different labels, "
            f"but the bank has sounds of only {len(labelled)} labels; lower n_events"
        )
    clips = []
    for index in range(n_clips):
        clips.append(_draw_clip(labelled, config, fingerprint, index, split))
        if progress is not None:
            progress(index + 1, n_clips)
    dataset = Dataset(name=f"soundscapes of {bank.name}", labels=bank.labels, clips=tuple(clips))
    return Soundscapes(dataset, config, fingerprint)


def _by_label(bank: Dataset) -> list[list[Clip]]:
    # the sounds of each label that has any, in an order that does not depend on the order of the bank
    by_label: dict[str, list[Clip]] = {name: [] for name in bank.labels}
    for clip in sorted(bank, key=lambda clip: clip.id):
        if len(clip.labels) != 1:
            raise DataError(
                f"{bank.name}: a bank needs clips with exactly one label, but {clip.id!r} has {len(clip.labels)}"
            )
        if any(GROUP_SEPARATOR in source for source in ({clip.group} if clip.group else sources(clip))):
            raise DataError(
                f"{bank.name}: the source of {clip.id!r} contains {GROUP_SEPARATOR!r}, which joins sources; rename it"
            )
        by_label[clip.labels[0]].append(clip)
    return [clips for _, clips in sorted(by_label.items()) if clips]


def _draw_clip(labelled: list[list[Clip]], config: SoundscapeConfig, bank: str, index: int, split: str | None) -> Clip:
    # the bank is part of the seed: otherwise training and test sets of one seed would share labels, levels and noise
    entropy = (config.seed, index, int(bank[:16], 16))
    rng = np.random.default_rng(entropy)
    n_samples = seconds_to_samples(config.duration, config.sample_rate)
    shortest, longest = (
        min(n_samples, seconds_to_samples(seconds, config.sample_rate)) for seconds in config.event_duration
    )
    sounds: list[PlacedSound] = []
    groups: set[str] = set()
    n_events = int(rng.integers(config.n_events[0], config.n_events[1] + 1))
    for label in rng.choice(len(labelled), n_events, replace=False):
        clip = labelled[label][rng.integers(len(labelled[label]))]
        sound = active_sound(clip.audio, config.sample_rate)
        if not len(sound.parts):
            raise DataError(f"bank sound {clip.id!r} is silent; remove it from the bank")
        cut, length = sound.draw_cut(shortest, longest, rng)
        onset = int(rng.integers(n_samples - length + 1))
        gain_db = float(rng.uniform(*config.snr_db))
        sounds.append(PlacedSound(clip.labels[0], clip.audio, cut, onset, length, gain_db))
        groups |= sources(clip)
    recipe = Soundscape(
        sample_rate=config.sample_rate,
        n_samples=n_samples,
        sounds=tuple(sounds),
        background_db=float(rng.uniform(*config.background_db)),
        background_tilt=float(rng.uniform(*config.background_tilt)),
        fade=seconds_to_samples(config.fade, config.sample_rate),
        # a stream of its own, so that the noise does not depend on the number of draws above
        noise_seed=(*entropy, 1),
    )
    return Clip(
        id=f"soundscape-{bank[:8]}-{config.seed}-{index:06d}",
        labels=tuple(sorted(sound.label for sound in sounds)),
        audio=recipe,
        split=split,
        group=GROUP_SEPARATOR.join(sorted(groups)),
    )


def render_soundscapes(
    soundscapes: Soundscapes,
    out: Path,
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Writes soundscapes to a folder: `audio/*.flac`, `clips.csv`, `truth.tsv` and `soundscapes.json`.

    An interrupted call resumes when repeated with the same soundscapes (or more). The folder is complete when
    `clips.csv` has as many rows as `soundscapes.json` states.

    Args:
        soundscapes: The result of `mix_soundscapes`.
        out: The folder, created if missing.
        jobs: Threads that mix and compress; None means one per processor.
        progress: Called with the number of files written so far and their total.

    Raises:
        DataError: The folder holds other soundscapes or other files.
        OSError: The folder cannot be written.
    """
    _claim(soundscapes, out)
    folder = out / "audio"
    folder.mkdir(exist_ok=True)
    clips = soundscapes.dataset.clips
    done = {entry.name for entry in os.scandir(folder)}
    todo = [clip for clip in clips if _filename(clip) not in done]

    def write(clip: Clip) -> None:
        rate = soundscapes.config.sample_rate
        save_audio(folder / _filename(clip), clip.load(rate))

    jobs = jobs or n_processors()
    with closing(in_threads(write, todo, jobs, 2 * jobs)) as written:
        for n_written, _ in enumerate(written, len(clips) - len(todo) + 1):
            if progress is not None:
                progress(n_written, len(clips))
    _write_table(out / "truth.tsv", "\t", TRUTH_COLUMNS, soundscapes.truth)
    rows = ((f"audio/{_filename(c)}", join_labels(c.labels), c.split or "", c.group or "") for c in clips)
    _write_table(out / "clips.csv", ",", _MANIFEST_COLUMNS, rows)


def _claim(soundscapes: Soundscapes, out: Path) -> None:
    # soundscapes.json marks the folder before the first sound is written
    description = out / "soundscapes.json"
    labels = soundscapes.dataset.labels
    mine = {
        "format": _FORMAT,
        "config": json_value(asdict(soundscapes.config)),
        "bank": soundscapes.bank_fingerprint,
        "splits": list(soundscapes.dataset.splits),
        "labels": [{"name": name, "id": id_} for name, id_ in zip(labels.names, labels.ids, strict=True)],
        "n_clips": len(soundscapes),
    }
    if not description.exists():
        if out.exists() and any(out.iterdir()):
            raise DataError(f"{out}: holds other files; render into a new or empty folder")
    else:
        theirs = _description(out)
        differing = [key for key in mine if key != "n_clips" and mine[key] != theirs.get(key)]
        if differing:
            changed = (
                differences(theirs["config"], mine["config"]) if isinstance(theirs["config"], dict) else ["config"]
            )
            named = [text for key in differing for text in (changed if key == "config" else [key])]
            raise DataError(f"{out}: holds other soundscapes (other {', '.join(named)}); render into a new folder")
        if theirs["n_clips"] > len(soundscapes):
            raise DataError(
                f"{out}: {theirs['n_clips']} soundscapes were begun here, {len(soundscapes)} asked for now; "
                "render into a new folder"
            )
    write_json(description, mine)


def _description(folder: Path) -> dict[str, Any]:
    path = folder / "soundscapes.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder}: no soundscapes here (soundscapes.json is missing)") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    if not isinstance(description, dict) or description.get("format") != _FORMAT:
        raise DataError(f"{path}: not a description of soundscapes of format {_FORMAT}")
    missing = {"config", "bank", "splits", "labels", "n_clips"} - set(description)
    if missing:
        raise DataError(f"{path}: {', '.join(sorted(missing))} missing")
    return description


def read_soundscapes(folder: Path | str, lenient: bool = False) -> Dataset:
    """The weakly labelled clips of a rendered folder, without their event times.

    Args:
        folder: The folder.
        lenient: Skip clips whose files are missing; allow unknown labels.

    Raises:
        DataError: The folder holds no soundscapes, or its rendering was interrupted.
    """
    folder = Path(folder)
    description = _description(folder)
    manifest = folder / "clips.csv"
    listed = read_listed_clips(manifest, Damage(lenient=False)) if manifest.exists() else ()
    clips = [replace(clip, id=Path(clip.id).stem) for clip in listed]
    if len(clips) < description["n_clips"]:
        raise DataError(f"{folder}: rendering was interrupted; run the same command again to resume")
    found, missing, splits = drop_missing(str(folder), clips, lenient)
    names = tuple(label["name"] for label in description["labels"])
    ids = tuple(label["id"] for label in description["labels"])
    labels = LabelSet(names, ids)
    within, outside = drop_outside(found, labels) if lenient else (found, ())
    return Dataset(f"soundscapes:{folder}", labels, within, missing, splits, outside)


def _filename(clip: Clip) -> str:
    return f"{clip.id}.flac"


def _write_table(path: Path, delimiter: str, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> None:
    # groups may be file names, which may hold bytes that are not UTF-8
    with (
        atomic_write(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        write = row_writer(file, delimiter)
        for row in (columns, *rows):
            write(row)
