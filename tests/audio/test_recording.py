import array
import os
import pickle
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from earmark.audio.recording import (
    Audio,
    decode_audio,
    find_audio,
    load_audio,
    load_blocks,
    probe,
    resample,
    samples_to_seconds,
    save_audio,
    scan_audio,
    seconds_to_samples,
)
from earmark.data import open_data
from earmark.errors import AudioError, DataError, EarmarkWarning

RATE = 16000


def tone(frequency: float, sample_rate: int, seconds: float = 1.0, amplitude: float = 0.5) -> np.ndarray:
    time_axis = np.arange(seconds_to_samples(seconds, sample_rate)) / sample_rate
    return (amplitude * np.sin(2 * np.pi * frequency * time_axis)).astype(np.float32)


def noise(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, n_samples).astype(np.float32)


def level_db(waveform: np.ndarray) -> float:
    # without the ends, where the filter has its transients
    middle = waveform[len(waveform) // 8 : -len(waveform) // 8].astype(np.float64)
    return float(10 * np.log10(np.mean(middle**2) + 1e-30))


def refusal(path: Path, **options: object) -> str:
    """The error text of `load_audio`, without the path."""
    with pytest.raises(AudioError) as caught:
        load_audio(path, RATE, **options)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


# seconds and samples


@given(st.integers(0, 10**10), st.integers(1, 768000))
@example(10 * 3600 * 192000, 192000)
def test_samples_survive_conversion_to_seconds_and_back(n_samples: int, sample_rate: int) -> None:
    assert seconds_to_samples(samples_to_seconds(n_samples, sample_rate), sample_rate) == n_samples


@given(st.floats(0, 1e6), st.integers(1, 768000))
def test_rounding_is_to_the_nearest_sample(seconds: float, sample_rate: int) -> None:
    n_samples = seconds_to_samples(seconds, sample_rate)
    assert abs(samples_to_seconds(n_samples, sample_rate) - seconds) <= 0.5 / sample_rate + 1e-9


@pytest.mark.parametrize(("seconds", "n_samples"), [(0.5, 1), (1.5, 2), (2.5, 3), (2.49, 2)])
def test_half_a_sample_rounds_up(seconds: float, n_samples: int) -> None:
    assert seconds_to_samples(seconds, 1) == n_samples


# Audio


@pytest.mark.parametrize(
    ("waveform", "first"),
    [
        (np.array([-(2**15), 2**14], np.int16), [-1.0, 0.5]),
        (np.array([-(2**31), 2**30], np.int32), [-1.0, 0.5]),
        (np.array([-0.25, 3.0]), [-0.25, 3.0]),
        (np.array([-0.25, 3.0], np.float16), [-0.25, 3.0]),
    ],
)
def test_audio_holds_float32(waveform: np.ndarray, first: list[float]) -> None:
    audio = Audio(waveform, RATE)
    assert audio.waveform.dtype == np.float32
    assert audio.waveform.tolist() == first


@pytest.mark.parametrize(
    ("waveform", "text"),
    [
        (np.zeros(0, np.float32), r"needs at least one sample, got shape \(0,\)"),
        (np.zeros((2, 0), np.float32), r"at least one sample, got shape \(2, 0\)"),
        (np.zeros((1, 2, 3), np.float32), r"\(sample,\) or \(channel, sample\), got shape \(1, 2, 3\)"),
        (np.zeros((16000, 2), np.float32), r"16000 channels of 2 samples: transpose it with .T"),
        (np.zeros(4, np.uint8), "floats .*, got uint8"),
        (np.zeros(4, np.int64), "floats .*, got int64"),
        (np.zeros(4, np.complex64), "floats .*, got complex64"),
        (np.array([0.0, np.nan, np.inf]), "finite, got 2 NaN or infinite among 3 samples"),
        (np.array([1e300]), "finite, got 1 NaN or infinite"),
    ],
)
def test_audio_refuses_invalid_waveforms(waveform: np.ndarray, text: str) -> None:
    with pytest.raises(AudioError, match=text):
        Audio(waveform, RATE)


@pytest.mark.parametrize("rate", [0, -1, True, 44100.0, "44100"])
def test_audio_refuses_invalid_rates(rate: object, unchecked: None) -> None:
    with pytest.raises(AudioError, match=r"positive whole number of Hz, got "):
        Audio(noise(10), rate)  # type: ignore[arg-type]


def test_audio_refuses_a_list(unchecked: None) -> None:
    with pytest.raises(AudioError, match=r"a NumPy array, got list: give numpy\.asarray\(waveform, numpy\.float32"):
        Audio([0.0, 1.0], RATE)  # type: ignore[arg-type]


def test_audio_refuses_a_tensor(unchecked: None) -> None:
    with pytest.raises(AudioError, match=r"a NumPy array, got Tensor: give waveform\.detach\(\)\.cpu\(\)\.numpy\(\)"):
        Audio(torch.zeros(8, requires_grad=True), RATE)  # type: ignore[arg-type]


def test_audio_can_be_pickled(unchecked: None) -> None:
    audio = pickle.loads(pickle.dumps(Audio(noise(10), np.int64(RATE))))  # type: ignore[arg-type]  # noqa: S301
    assert (audio.sample_rate, type(audio.sample_rate)) == (RATE, int)


def test_mono_is_the_mean_of_the_channels() -> None:
    left, right = noise(800, 1), noise(800, 2)
    mono = Audio(np.stack([left, right]), RATE).mono(RATE)
    np.testing.assert_allclose(mono.waveform, (left + right) / 2, atol=1e-7)
    assert Audio(np.stack([left, right]), RATE).mono(8000).duration == mono.duration == 0.05


# resampling


def test_resampling_removes_frequencies_above_the_new_nyquist_limit() -> None:
    assert level_db(resample(tone(6000, 44100), 44100, 8000)) < -100


@pytest.mark.parametrize("to_rate", [8000, 16000, 32000, 48000])
def test_resampling_keeps_the_level_of_other_frequencies(to_rate: int) -> None:
    before = tone(1000, 44100)
    after = resample(before, 44100, to_rate)
    assert abs(level_db(after) - level_db(before)) < 0.1
    np.testing.assert_allclose(
        after[to_rate // 4 : to_rate // 2], tone(1000, to_rate)[to_rate // 4 : to_rate // 2], atol=1e-3
    )


@given(
    st.integers(1, 5000), st.sampled_from([8000, 11025, 44100, 48000, 192000]), st.sampled_from([8000, 16000, 32000])
)
def test_resampling_rounds_the_length(n_samples: int, from_rate: int, to_rate: int) -> None:
    n_resampled = resample(noise(n_samples), from_rate, to_rate).size
    assert n_resampled == (n_samples * to_rate * 2 + from_rate) // (from_rate * 2)


# files of every kind


FORMATS = [
    ("wav", "PCM_U8"),
    ("wav", "PCM_16"),
    ("wav", "PCM_24"),
    ("wav", "PCM_32"),
    ("wav", "FLOAT"),
    ("wav", "DOUBLE"),
    ("wav", "ULAW"),
    ("wav", "GSM610"),
    ("flac", "PCM_16"),
    ("flac", "PCM_24"),
    ("ogg", "VORBIS"),
    ("opus", "OPUS"),
    ("mp3", "MPEG_LAYER_III"),
    ("aiff", "PCM_16"),
    ("aiff", "FLOAT"),
    ("au", "PCM_16"),
    ("caf", "PCM_16"),
    ("w64", "PCM_16"),
    ("rf64", "PCM_16"),
]


def write(path: Path, waveform: np.ndarray, sample_rate: int = RATE, subtype: str | None = None) -> Path:
    """Writes a file with libsndfile, as other programs do."""
    file_format = {"opus": "OGG"}.get(path.suffix[1:], path.suffix[1:].upper())
    soundfile.write(path, waveform.T, sample_rate, format=file_format, subtype=subtype)
    return path


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
def test_every_format_is_read(tmp_path: Path, suffix: str, subtype: str) -> None:
    path = write(tmp_path / f"tone.{suffix}", tone(1000, RATE), subtype=subtype)
    info = probe(path)
    assert (info.sample_rate, info.n_channels) == (RATE, 1)
    assert info.duration == pytest.approx(1.0, abs=0.03)
    audio = load_audio(path, RATE)
    assert audio.waveform.shape == (info.n_samples,)
    assert level_db(audio.waveform[:RATE]) == pytest.approx(level_db(tone(1000, RATE)), abs=0.3)
    spectrum = np.abs(np.fft.rfft(audio.waveform, n=RATE))
    assert abs(int(spectrum.argmax()) - 1000) <= 1


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
def test_a_part_equals_that_part_of_the_recording(tmp_path: Path, suffix: str, subtype: str) -> None:
    path = write(tmp_path / f"noise.{suffix}", noise(3 * RATE), subtype=subtype)
    whole = load_audio(path, RATE).waveform
    part = load_audio(path, RATE, onset=1.25, duration=0.5).waveform
    # after a seek, a lossy decoder needs some frames to converge
    tolerance = 1e-6 if suffix not in ("opus", "mp3") else 0.02
    np.testing.assert_allclose(part, whole[20000:28000], atol=tolerance)


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_bytes_are_read_like_the_file(tmp_path: Path, suffix: str, subtype: str, share: float) -> None:
    path = write(tmp_path / f"noise.{suffix}", noise(RATE), subtype=subtype)
    data = path.read_bytes()[: int(path.stat().st_size * share)]
    path.write_bytes(data)
    if share == 1:
        audio = decode_audio(data, 8000, "row 7")
        np.testing.assert_array_equal(audio.waveform, load_audio(path, 8000).waveform)
        part = decode_audio(data, 8000, "row 7", onset=0.25, duration=0.5)
        np.testing.assert_array_equal(part.waveform, load_audio(path, 8000, 0.25, 0.5).waveform)
        return
    with pytest.raises(AudioError) as caught:
        decode_audio(data, 8000, "row 7")
    assert str(caught.value) == f"row 7: {refusal(path)}"


@pytest.mark.parametrize("n_channels", [1, 2, 3, 6, 8])
@pytest.mark.parametrize("sample_rate", [8000, 22050, 44100, 192000])
def test_channels_are_averaged_at_every_rate(tmp_path: Path, n_channels: int, sample_rate: int) -> None:
    channels = np.stack([tone(500, sample_rate, 0.2, amplitude=0.1 * (c + 1)) for c in range(n_channels)])
    path = write(tmp_path / "many.wav", channels, sample_rate, "FLOAT")
    audio = load_audio(path, RATE)
    assert (audio.sample_rate, audio.waveform.shape) == (RATE, (3200,))
    expected = tone(500, RATE, 0.2, amplitude=0.1 * (n_channels + 1) / 2)
    np.testing.assert_allclose(audio.waveform[800:-800], expected[800:-800], atol=1e-3)


@pytest.mark.parametrize(
    ("gains", "cancel"),
    [
        ((1.0, -1.0), True),
        ((1.0, -0.9), True),
        ((1.0, -0.7), False),
        ((1.0, 0.0), False),
        ((1.0, 1.0), False),
        ((0.0, 0.0), False),
    ],
)
def test_channels_that_cancel_each_other_give_one_warning(
    tmp_path: Path, gains: tuple[float, float], cancel: bool
) -> None:
    sound = noise(3 * RATE)
    path = tmp_path / "s.wav"
    save_audio(path, Audio(np.stack([gain * sound for gain in gains]), RATE), subtype="FLOAT")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        audio = load_audio(path, RATE)
    np.testing.assert_allclose(audio.waveform, sound * sum(gains) / 2, atol=1e-6)
    assert [str(one.message).startswith(f"{path}: channels cancel each other") for one in caught] == (
        [True] if cancel else []
    )


@pytest.mark.parametrize("n_channels", [2, 8, 200])
def test_uncorrelated_channels_give_no_warning(tmp_path: Path, n_channels: int) -> None:
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, (n_channels, RATE)).astype(np.float32)
    save_audio(tmp_path / "s.wav", Audio(waveform, RATE))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        audio = load_audio(tmp_path / "s.wav", RATE)
    assert caught == []
    np.testing.assert_allclose(audio.waveform, waveform.mean(0), atol=1e-4)


@pytest.mark.parametrize("sample_rate", [RATE, 44100])
@pytest.mark.parametrize("seconds", [0.1, 0.3333, 2.0, 100.0])
def test_concatenated_blocks_equal_the_recording_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sample_rate: int, seconds: float
) -> None:
    path = write(tmp_path / "noise.wav", np.stack([noise(70001, 1), noise(70001, 2)]), sample_rate)
    whole = load_audio(path, RATE).waveform
    monkeypatch.setattr("earmark.audio.decoding._BLOCK_VALUES", 3000)  # several blocks of the decoder
    parts = list(load_blocks(path, RATE, seconds))
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    n_block = seconds_to_samples(seconds, RATE)
    assert all(part.size == n_block for part in parts[:-1])
    assert 0 < parts[-1].size <= n_block
    np.testing.assert_array_equal(load_audio(path, RATE).waveform, whole)
    np.testing.assert_array_equal(resample(load_audio(path, sample_rate).waveform, sample_rate, RATE), whole)


def test_blocks_of_no_length_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(10))
    with pytest.raises(AudioError, match=r"at least one sample, got 0\.0 s at 16000 Hz"):
        next(load_blocks(path, RATE, 0.0))


def test_a_part_ends_where_the_file_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(RATE))
    assert load_audio(path, RATE, onset=0.75, duration=10.0).duration == 0.25
    assert refusal(path, onset=1.0) == "ends at 1.000 s, before the onset at 1.000 s"
    assert refusal(path, onset=-0.5) == "expected an onset of 0 s or later, got -0.5"
    assert refusal(path, duration=0.0) == "expected a duration above 0 s, got 0.0"
    assert refusal(path, duration=float("nan")) == "expected a duration above 0 s, got nan"


# damaged and unusual files


def test_missing_file_and_folder(tmp_path: Path) -> None:
    folder = tmp_path / "x.wav"
    folder.mkdir()
    assert refusal(tmp_path / "none.wav") == "no such file"
    assert refusal(folder) == "expected an audio file, got a folder"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may read every file")
def test_forbidden_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(10))
    path.chmod(0)
    assert refusal(path) == "cannot be opened: Permission denied"


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff", "au", "caf", "txt"])
def test_files_without_sound(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"")
    assert refusal(path) == "empty, 0 bytes; copy or download it again"
    for content in (b"not a sound but a page that says so\n" * 50, bytes(2000)):
        path.write_bytes(content)
        assert refusal(path).startswith("cannot be read as audio; it ")
        with pytest.raises(AudioError, match="cannot be read as audio"):
            probe(path)


def test_errors_about_unknown_formats_list_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"
    path.write_bytes(b"BM" + bytes(100))
    assert "in a format other than wav, flac, ogg" in refusal(path)


@pytest.mark.parametrize("suffix", ["wav", "aiff", "au", "ogg"])
def test_a_file_without_samples(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", noise(0))
    assert refusal(path) == "holds no samples, only a header"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_in_a_file(tmp_path: Path, value: float) -> None:
    waveform = noise(RATE)
    waveform[700] = value
    path = write(tmp_path / "a.wav", waveform, subtype="FLOAT")
    assert refusal(path) == "damaged, 1 NaN or infinite among 16000 samples from 0.00 s on"
    assert load_audio(path, RATE, onset=0.5).duration == 0.5


def with_bytes(path: Path, at: int, replacement: bytes) -> Path:
    content = bytearray(path.read_bytes())
    content[at : at + len(replacement)] = replacement
    path.write_bytes(content)
    return path


def flac_stating(path: Path, n_samples: int) -> Path:
    head = int.from_bytes(path.read_bytes()[18:26], "big")
    return with_bytes(path, 18, ((head >> 36 << 36) | n_samples).to_bytes(8, "big"))


@pytest.mark.parametrize("stated", [(1 << 36) - 1, 80001, 200000])
def test_flac_that_states_more_than_it_holds(tmp_path: Path, stated: int) -> None:
    path = flac_stating(write(tmp_path / "a.flac", noise(80000)), stated)
    expected = f"cut off, its header states {stated} samples but the file holds 80000; copy or download it again"
    assert refusal(path) == expected  # without allocating 512 GiB
    with pytest.raises(AudioError, match="states"):
        list(load_blocks(path, RATE, 1.0))


def test_flac_from_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", noise(80000))
    whole = load_audio(path, RATE).waveform
    flac_stating(path, 0)
    assert (probe(path).n_samples, probe(path).duration) == (None, None)
    np.testing.assert_array_equal(load_audio(path, RATE).waveform, whole)
    np.testing.assert_array_equal(load_audio(path, RATE, onset=1.0, duration=1.0).waveform, whole[RATE : 2 * RATE])
    assert refusal(path, onset=6.0).startswith(("holds no sound from 6.000 s on", "damaged or cut off"))


def test_flac_damaged_in_the_middle(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", noise(10 * RATE))
    with_bytes(path, path.stat().st_size // 2, bytes(5000))
    assert refusal(path).startswith("damaged or cut off somewhere from 0.00 s on; copy it again (")


def test_mp3_without_a_stated_length_is_read_to_its_end(tmp_path: Path) -> None:
    # silence takes few bits: the bit rate of the first frame suggests a third of the length
    path = write(tmp_path / "a.mp3", np.concatenate([np.zeros(40000, np.float32), noise(40000)]))
    whole = load_audio(path, RATE).waveform
    with_bytes(path, path.read_bytes().index(b"Xing"), b"none")
    assert soundfile.info(path).frames < 30000
    audio = load_audio(path, RATE)
    assert probe(path).n_samples is None
    assert audio.waveform.size == pytest.approx(80000, abs=3 * 1152)
    assert level_db(audio.waveform[-30000:]) == pytest.approx(level_db(whole[-30000:]), abs=0.2)
    part = load_audio(path, RATE, onset=3.0, duration=0.5).waveform
    np.testing.assert_allclose(part, audio.waveform[48000:56000], atol=1e-6)


def test_shorter_than_a_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", noise(1), 192000)
    assert refusal(path) == "shorter than one sample at 16000 Hz"
    with pytest.raises(AudioError, match=r"a\.wav: shorter than one sample at 16000 Hz"):
        list(load_blocks(path, RATE, 1.0))


# writing and finding


@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=200))
@example([-(2**15), 2**15 - 1, 0])
def test_16_bit_samples_survive_a_file(tmp_path_factory: pytest.TempPathFactory, steps: list[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "grid.flac"
    audio = Audio(np.array(steps, np.int16), RATE)
    save_audio(path, audio)
    np.testing.assert_array_equal(load_audio(path, RATE).waveform, audio.waveform)


def test_samples_are_rounded_to_the_nearest_step(tmp_path: Path) -> None:
    save_audio(tmp_path / "a.wav", Audio(np.array([0.6, 0.4, -0.6, -0.4]) / 32768, RATE))
    assert (load_audio(tmp_path / "a.wav", RATE).waveform * 32768).tolist() == [1, 0, -1, 0]


def test_samples_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    save_audio(tmp_path / "a.wav", Audio(np.array([2.0, -2.0, 0.5]), RATE))
    assert load_audio(tmp_path / "a.wav", RATE).waveform.tolist() == [32767 / 32768, -1.0, 0.5]


@pytest.mark.parametrize(
    ("name", "subtype"), [("a.wav", "FLOAT"), ("a.flac", "PCM_24"), ("a.ogg", "VORBIS"), ("a.aif", "PCM_16")]
)
def test_channels_are_kept(tmp_path: Path, name: str, subtype: str) -> None:
    save_audio(tmp_path / "new" / name, Audio(np.stack([noise(8000), noise(8000)]), 44100), subtype)
    info = probe(tmp_path / "new" / name)
    assert (info.n_channels, info.sample_rate, info.n_samples) == (2, 44100, 8000)


def test_failed_writing_leaves_nothing(tmp_path: Path) -> None:
    audio = Audio(np.zeros((20, 40)), RATE)
    with pytest.raises(AudioError, match=r"a\.flac: cannot be written: "):
        save_audio(tmp_path / "a.flac", audio)  # FLAC holds 8 channels
    with pytest.raises(AudioError, match=r"a\.ogg: cannot be written as OGG with PCM_16 samples"):
        save_audio(tmp_path / "a.ogg", audio)
    with pytest.raises(AudioError, match="cannot be written as a file without suffix"):
        save_audio(tmp_path / "a", audio)
    assert list(tmp_path.iterdir()) == []


def test_recordings_are_found_in_order(tmp_path: Path) -> None:
    for name in ("b.WAV", "a/2.flac", "a/1.mp3", "a/.hidden.wav", ".cache/3.wav", "notes.txt", "a/._1.mp3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert [str(file.relative_to(tmp_path)) for file in find_audio(tmp_path)] == ["a/1.mp3", "a/2.flac", "b.WAV"]
    assert find_audio(tmp_path / "notes.txt") == [tmp_path / "notes.txt"]  # a file given by its path


def test_recordings_that_need_the_extra_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.audio.media.is_installed", lambda: False)
    for name in ("1.m4a", "a/2.M4A", "a/3.m4a", "v.mkv", ".hidden.m4a", "notes.txt", "cover.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(
        AudioError, match=r"no recording in this folder; .*; found 3 \.m4a, 1 \.mkv, which need the extra: pip"
    ):
        find_audio(tmp_path)
    (tmp_path / "b.wav").touch()
    with pytest.warns(EarmarkWarning) as caught:
        assert find_audio(tmp_path) == [tmp_path / "b.wav"]
    assert [str(one.message) for one in caught] == [
        f"{tmp_path}: 4 files skipped, 3 .m4a, 1 .mkv: they need the extra: pip install 'earmark[media]'"
    ]
    assert [file.name for file in scan_audio(tmp_path)[1]] == ["1.m4a", "2.M4A", "3.m4a", "v.mkv"]


def test_folders_without_recordings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"no recording in this folder; looked for \.(3gp|aif) "):
        find_audio(tmp_path)
    with pytest.raises(AudioError, match="no such file"):
        find_audio(tmp_path / "none")


def test_real_recordings_are_read_completely(esc50_dir: Path) -> None:
    paths = find_audio(esc50_dir / "audio")[::40]
    assert len(paths) == 40
    for path in paths:
        assert probe(path).n_samples == load_audio(path, RATE).waveform.size == 5 * RATE


@pytest.mark.skipif(sys.platform != "linux", reason="file names must be valid text elsewhere")
def test_a_file_name_need_not_be_valid_text(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.full(100, 0.25), 8000)
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff.wav"))
    (tmp_path / "a.wav").rename(path)
    assert load_audio(path, 8000).waveform.shape == (100,)


@pytest.mark.parametrize(
    ("samples", "advice"),
    [
        (b"\0\1\0\2", "numpy.frombuffer(waveform, numpy.int16)"),
        ([1, 2, 3], "numpy.array(waveform, numpy.int16)"),
        ([[1, 2, 3], [1, 2, 3]], "numpy.array(waveform, numpy.int16)"),
        (list(np.arange(3, dtype=np.int16)), "numpy.array(waveform, numpy.int16)"),
        (array.array("h", [1, 2]), "numpy.asarray(waveform)"),
        ([0.1, 0.2], "numpy.asarray(waveform, numpy.float32)"),
    ],
)
def test_the_advice_about_other_types_gives_the_right_samples(unchecked, samples, advice):
    with pytest.raises(AudioError, match=re.escape(advice)):
        Audio(samples, RATE)
    scaled = Audio(eval(advice, {"numpy": np, "waveform": samples}), RATE).waveform
    assert np.abs(scaled).max() < 1


def test_audio_copies_its_samples():
    for samples in (np.zeros(8, np.float32), np.zeros((2, 8), np.float32), np.zeros(8, np.int16)):
        audio = Audio(samples, RATE)
        samples[:] = 1
        assert not audio.waveform.any()
    fixed = np.zeros(8, np.float32)
    fixed.flags.writeable = False
    assert Audio(fixed, RATE).waveform.flags.writeable
    np.testing.assert_array_equal(Audio(np.array([1, 2], ">i2"), RATE).waveform, np.array([1, 2]) / 32768)


@pytest.mark.parametrize("shape", [(1024, 2), (3, 2), (256, 1)])
def test_more_channels_than_samples_are_refused(shape):
    with pytest.raises(AudioError, match=rf"{shape[0]} channels of {shape[1]} samples: transpose it with \.T"):
        Audio(np.zeros(shape, np.float32), RATE)


def test_integers_that_became_floats_without_being_scaled_are_noticed(tmp_path):
    samples = 20000 * np.sin(np.arange(RATE) / 5).astype(np.float32)
    with pytest.warns(EarmarkWarning, match="beyond 16, where full scale is 1"):
        Audio(samples, RATE)
    path = tmp_path / "unscaled.wav"
    soundfile.write(path, np.concatenate([np.zeros(2 * RATE), samples]), RATE, subtype="FLOAT")
    with pytest.warns(EarmarkWarning, match=r"unscaled\.wav: has samples beyond 16") as caught:
        load_audio(path, RATE)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Audio(3 * np.sin(np.arange(RATE)).astype(np.float32), RATE)  # a loud float is no mistake
        Audio(samples.astype(np.int16), RATE)


def test_a_sub_folder_that_cannot_be_read_is_an_error_unless_the_caller_collects_them(tmp_path, refuse_folder):
    for name in ("dog", "siren"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.wav", np.zeros(RATE, np.float32))
    refuse_folder(tmp_path / "siren")
    with pytest.raises(AudioError, match="siren: this folder cannot be read: Permission denied"):
        find_audio(tmp_path)
    errors = []
    assert find_audio(tmp_path, errors.append) == [tmp_path / "dog" / "a.wav"]
    assert [Path(error.filename).name for error in errors] == ["siren"]
    with pytest.raises(DataError, match="siren: this folder cannot be read"):
        open_data(f"folder:{tmp_path}")
