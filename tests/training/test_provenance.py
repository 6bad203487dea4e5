"""The hash of a data set."""

from dataclasses import replace
from pathlib import Path

from earmark.audio.recording import Audio
from earmark.data.clips import Clip, Dataset, FileAudio
from earmark.training.provenance import exact_sha256
from earmark.training.variants import with_variants
from tests.training.tones import LABELS, SMALL, Tone


def test_files_may_move_as_a_whole_between_start_and_resumption(tmp_path, monkeypatch):
    def files(folder, **values):
        clips = (Clip(n, ("low",), FileAudio(Path(folder, n, "x.wav"), **values)) for n in ("a", "b"))
        return exact_sha256(Dataset("files", LABELS, tuple(clips)))

    monkeypatch.chdir(tmp_path)
    assert files("here") == files(tmp_path / "here") == files("/elsewhere/there")
    assert len({files("here"), files("here", onset=1.0), files("here", duration=1.0)}) == 3


def test_files_with_variants_may_move_too():
    def hashed(folder, **settings):
        clips = tuple(Clip(n, ("low",), FileAudio(Path(folder, n, "x.wav"))) for n in ("a", "b"))
        config = replace(SMALL, n_variants=2, mix_share=0.5, **settings)
        return exact_sha256(with_variants(Dataset("files", LABELS, clips), config))

    assert hashed("/here") == hashed("/elsewhere/there") != hashed("/here", mix_clips_db=1.0)


def test_a_reader_without_its_own_repr():
    class Plain:
        def load(self, sample_rate: int) -> Audio:
            return Tone(("low",), 1).load(sample_rate)

    one, other = (Dataset("plain", LABELS, (Clip("a", ("low",), Plain()),)) for _ in range(2))
    assert repr(one[0].audio) != repr(other[0].audio) and exact_sha256(one) == exact_sha256(other)
