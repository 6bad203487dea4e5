"""Sounds, data sets and folders of several test files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from earmark.audio.recording import Audio, save_audio
from earmark.data import Clip, Dataset, FileAudio
from earmark.doctor.facts import Facts, FactsTable
from earmark.doctor.findings import diagnose
from earmark.doctor.journal import Entry, Stamp, open_facts_journal
from earmark.doctor.kinds import Limits
from earmark.doctor.report import Report
from earmark.labels import LabelSet

RATE = 16000


def _noise(seed=0, seconds=1.0, n_channels=None, rate=RATE):
    shape = round(seconds * rate) if n_channels is None else (n_channels, round(seconds * rate))
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


@pytest.fixture(scope="session")
def noise():
    """Noise by its seed."""
    return _noise


def _saved(path, waveform, rate=RATE, subtype="PCM_16"):
    save_audio(path, Audio(waveform, rate), subtype)
    return FileAudio(path)


@pytest.fixture(scope="session")
def saved():
    """Saves a waveform and returns its reader."""
    return _saved


def _damaged(folder):
    """Unreadable files, each with a part of its error."""
    whole = _saved(folder / "whole.flac", _noise(seconds=3.0)).path.read_bytes()
    wav = _saved(folder / "whole.wav", _noise()).path.read_bytes()
    contents = {
        "header.wav": (wav[:44], "cut off, its header states 32000 bytes"),
        "cut.wav": (wav[: len(wav) // 2], "cut off, its header states 32000 bytes"),
        "cut.flac": (whole[: len(whole) // 2], "damaged or cut off somewhere from"),
        "text.wav": (b"no sound at all", "cannot be read as audio"),
        "empty.wav": (b"", "empty, 0 bytes"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {folder / name: reason for name, (_, reason) in contents.items()} | {folder / "gone.wav": "no such file"}


@pytest.fixture(scope="session")
def damaged():
    """Saves files that cannot be read; returns their paths, each with a part of the error."""
    return _damaged


FACTS = Facts(1.0, 44100, 2, 0.1, 0.0, "ab" * 32, None, None)


def _written(path, n=3):
    with open_facts_journal(path) as journal:
        for position in range(n):
            stamp = Stamp(position, 2**60, 7) if position else None
            journal.append(Entry(f"clip {position}", replace(FACTS, seconds=position / 3), stamp).to_json())


@pytest.fixture(scope="session")
def written():
    """Writes a journal of a few clips."""
    return _written


def _dataset_of(clips, **others):
    """A data set of (id, labels, split, group) and the facts about each clip."""
    made = tuple(Clip(id_, labels, FileAudio(Path(id_)), split, group) for id_, labels, split, group in clips)
    return Dataset("made", LabelSet(("dog", "rain")), made, **others)


@pytest.fixture(scope="session")
def dataset_of():
    """A data set of (id, labels, split, group)."""
    return _dataset_of


def _diagnosed(clips, facts, limits=None, **others):
    dataset = _dataset_of(clips, **others)
    table = FactsTable(len(dataset))
    for position, each in enumerate(facts):
        table.add(position, each)
    return Report(
        dataset, table, limits or Limits(min_clips=0), diagnose(dataset, table, limits or Limits(min_clips=0))
    )


@pytest.fixture(scope="session")
def diagnosed():
    """A report on a data set and the facts about its clips."""
    return _diagnosed


def _wrong_data(folder):
    """A table of file clips with every kind of fault."""
    first = _noise(1)
    _saved(folder / "dog1.wav", first)
    _saved(folder / "dog2.flac", first)
    _saved(folder / "dog3.wav", _noise(3), 44100)
    _saved(folder / "rain1.wav", _noise(4, n_channels=2))
    _saved(folder / "rain2.flac", _noise(4, n_channels=2))
    _saved(folder / "silent.wav", np.zeros(RATE))
    _saved(folder / "short.wav", _noise(5, seconds=0.1))
    _saved(folder / "square.wav", np.sign(_noise(6)))
    _saved(folder / "long.wav", _noise(7, seconds=2.0))
    _saved(folder / "none.wav", _noise(8))
    rows = [
        "dog1.wav,dog,,,train,a",
        "dog2.flac,dog,,,test,b",
        "dog3.wav,dog,,,test,a",
        "rain1.wav,rain,,,train,c",
        "rain2.flac,rain;dog,,,train,c",
        "silent.wav,rain,,,train,d",
        "short.wav,rain,,,train,e",
        "square.wav,rain,,,train,f",
        "long.wav,rain,1.5,1.0,train,g",
        "none.wav,,,,train,h",
        "gone.wav,dog,,,train,i",
        "dog1.wav,dog,soon,1.0,train,i",
    ]
    rows += [f"{path.name},dog,,,train,j" for path in _damaged(folder)]
    (folder / "clips.csv").write_text("path,labels,onset,duration,split,group\n" + "\n".join(rows[:-1]) + "\n")
    return f"csv:{folder / 'clips.csv'}"


@pytest.fixture(scope="session")
def wrong_data():
    """Saves a data set of files with every kind of fault."""
    return _wrong_data


def _ids(report, kind):
    return [item.get("id") or [clip["id"] for clip in item["clips"]] for item in report.diagnosis.findings[kind]]


@pytest.fixture(scope="session")
def ids():
    """Ids of the items of a kind."""
    return _ids


def _found(report):
    return {kind for kind, items in report.diagnosis.findings.items() if items}


@pytest.fixture(scope="session")
def found():
    """Kinds with findings."""
    return _found


def _files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="session")
def files():
    """The content of a folder."""
    return _files
