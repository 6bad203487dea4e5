"""Variants of clips: repeatable, with the labels of all that sounds in them."""

from dataclasses import replace

import numpy as np
import pytest

from earmark.audio.recording import save_audio
from earmark.data.clips import Clip
from earmark.errors import AudioError, ConfigError
from earmark.training.variants import with_variants
from tests.training.tones import SMALL, Tone, run, state_of, tones

OFF = {f"{name}_share": 0.0 for name in ("mix", "background", "room", "device", "codec", "clipping")}


def changed(**settings):
    return replace(SMALL, **{**OFF, "n_variants": 1, **settings})


def sound(clip, rate=16000):
    return clip.load(rate).waveform


class Quiet(Tone):
    """A silent recording."""

    def load(self, sample_rate):
        audio = super().load(sample_rate)
        return replace(audio, waveform=0 * audio.waveform)


def test_without_variants_the_clips_stay():
    data = tones()
    assert with_variants(data, SMALL) is data


def test_each_clip_is_followed_by_its_variants():
    data = with_variants(tones(n_clips=3), changed(n_variants=2))
    assert [clip.id.partition("#")[0] for clip in data] == sorted(3 * ["tones-0", "tones-1", "tones-2"])
    assert len({clip.id for clip in data}) == 9 and {clip.labels for clip in data.clips[3:6]} == {data[3].labels}


@pytest.mark.parametrize("share", [name for name in OFF if name not in ("mix_share", "background_share")])
def test_each_condition_changes_the_sound_and_repeats_itself(share):
    config = changed(**{share: 1.0})
    clip, variant = with_variants(tones(n_clips=1), config).clips
    again = with_variants(tones(n_clips=1), config)[1]
    assert np.array_equal(sound(variant), sound(again)) and len(sound(variant)) == len(sound(clip))
    assert not np.allclose(sound(variant), sound(clip), atol=1e-3)
    assert len(sound(variant, 32000)) == 2 * len(sound(clip))


def test_a_variant_without_any_condition_is_the_clip():
    clip, variant = with_variants(tones(n_clips=1), changed()).clips
    assert sound(variant, 32000) == pytest.approx(sound(clip, 32000))


def test_another_seed_or_condition_gives_another_sound_and_name():
    one, other = (with_variants(tones(n_clips=1), changed(room_share=1.0, seed=seed))[1] for seed in (0, 1))
    assert one.id != other.id and not np.allclose(sound(one), sound(other))


def test_a_mix_has_the_labels_of_both_clips():
    data = with_variants(tones(n_clips=6), changed(mix_share=1.0, n_variants=4))
    mixed = [clip for clip in data if "#" in clip.id and clip.audio.added is not None]
    assert len(mixed) > 12
    for clip in mixed:
        assert set(clip.labels) >= {*clip.audio.audio.labels, *clip.audio.added.labels}


def test_a_label_of_a_mix_is_known_where_both_clips_know_it():
    known = (("low", "high"), ("mid", "high"), None)
    clips = tuple(replace(clip, labels=(), known=names) for clip, names in zip(tones(n_clips=3), known, strict=True))
    data = replace(tones(), clips=clips)
    found = {}
    for clip in with_variants(data, changed(mix_share=1.0, n_variants=8)):
        if "#" in clip.id and clip.audio.added is not None:
            pair = frozenset((clip.audio.audio.seed, clip.audio.added.seed))
            found[pair] = clip.known and set(clip.known)
    assert found == {
        frozenset((0, 1)): {"high"},
        frozenset((0, 2)): {"low", "high"},
        frozenset((1, 2)): {"mid", "high"},
    }


def test_a_mix_with_a_clip_of_which_nothing_is_known_has_known_labels_alone():
    clips = (tones()[0], replace(tones()[1], labels=(), known=()))
    for clip in with_variants(replace(tones(), clips=clips), changed(mix_share=1.0, n_variants=8)):
        if "#" in clip.id and clip.audio.added is not None:
            assert clip.labels == clip.known == tones()[0].labels


def test_a_mix_with_silence_is_the_clip_that_sounds():
    clip = replace(tones()[0], audio=Tone(("low",), 0, 0.3))
    silent = replace(clip, id="silent", audio=Quiet(("low",), 1, 0.3))
    mixed = with_variants(replace(tones(), clips=(clip, silent)), changed(mix_share=1.0, n_variants=8))
    sounds = [sound(one) for one in mixed if "#" in one.id and one.audio.added is not None]
    alone = sound(with_variants(replace(tones(), clips=(clip,)), changed())[1])
    assert len(sounds) > 3 and all(each == pytest.approx(alone) for each in sounds)


def test_the_background_comes_from_unlabelled_clips_or_a_folder_or_is_noise(tmp_path):
    bare = Clip("bare", (), Tone(("high",), 9))
    data = replace(tones(n_clips=4), clips=(*tones(n_clips=4).clips, bare))
    config = changed(background_share=1.0, n_variants=5)
    readers = {clip.audio.background for clip in with_variants(data, config) if "#" in clip.id}
    assert readers == {None, bare.audio}
    assert {clip.audio.background for clip in with_variants(tones(), config) if "#" in clip.id} == {None}
    save_audio(tmp_path / "music.wav", Tone(("high",), 9, 0.3).load(16000))
    own = with_variants(data, replace(config, background=str(tmp_path)))
    assert {getattr(clip.audio.background, "file", None) for clip in own if "#" in clip.id} == {
        None,
        str(tmp_path / "music.wav"),
    }
    with pytest.raises(AudioError, match="no such"):
        with_variants(data, replace(config, background=str(tmp_path / "missing")))


def test_encoded_clips_have_no_variants(monkeypatch):
    monkeypatch.setattr("earmark.training.variants.segments_of", lambda data: object())
    with pytest.raises(ConfigError, match="n_variants: 0 was expected"):
        with_variants(tones(), changed())


def test_a_run_on_variants_is_repeated_to_the_bit(tmp_path):
    config = replace(SMALL, n_variants=1, mix_share=0.5, n_clips_seen=16, clips_per_epoch=8)
    for name in ("a", "b"):
        run(tmp_path / name, config, tones(n_clips=4))
    a, b = (state_of(tmp_path / name)["averaged"] for name in ("a", "b"))
    assert all(bool((a[name] == b[name]).all()) for name in a)
