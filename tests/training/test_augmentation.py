import pytest
import torch

from earmark.errors import ConfigError
from earmark.model import frontend
from earmark.training import TrainConfig
from earmark.training.augmentation import (
    FLOOR_DB,
    crop,
    mix_clips,
    mixup,
    random_equalizer,
    random_shift_stretch,
    spec_augment,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n_clips: int = 64, n_frames: int = 100, n_mels: int = 32):
    # a clip is a constant, its own number, so that blends can be read off
    value = torch.arange(n_clips, dtype=torch.float32)
    log_mel = value[:, None, None].expand(-1, n_frames, n_mels).clone()
    return log_mel, torch.eye(n_clips), torch.full((n_clips,), n_frames)


def test_mixup_blends_features_and_targets_alike():
    log_mel, target, n_frames = batch()
    mixed, mixed_target, _ = mixup(log_mel, target, n_frames, 1.0, generator())
    torch.testing.assert_close(mixed_target.sum(1), torch.ones(64))
    assert (mixed_target > 0).sum(1).max() == 2
    numbers = mixed_target @ torch.arange(64, dtype=torch.float32)
    torch.testing.assert_close(mixed, numbers[:, None, None].expand_as(mixed), rtol=1e-4, atol=1e-4)


def test_mixup_draws_a_weight_for_each_clip_from_beta():
    log_mel, target, n_frames = batch(2000, 2, 2)
    for alpha, spread in ((1.0, 1 / 12), (0.2, 0.1786), (8.0, 0.0147)):
        _, mixed_target, _ = mixup(log_mel, target, n_frames, alpha, generator(3))
        weight = mixed_target.diagonal()
        weight = weight[weight < 1]  # the one clip in 2000 that was mixed with itself
        assert weight.mean().item() == pytest.approx(0.5, abs=0.03)
        assert weight.var().item() == pytest.approx(spread, rel=0.1)


def test_a_blend_is_as_long_as_its_longer_part():
    log_mel, target, _ = batch(8)
    n_frames = torch.arange(1, 9) * 10
    _, mixed_target, mixed_frames = mixup(log_mel, target, n_frames, 1.0, generator())
    parts = [n_frames[row > 0].max() for row in mixed_target]
    assert mixed_frames.tolist() == parts


def test_a_label_of_a_blend_is_known_where_both_clips_know_it():
    log_mel, target, n_frames = batch(16)
    unknown = torch.rand((16, 16), generator=generator(5)) < 0.3
    clean = mixup(log_mel, target, n_frames, 1.0, generator())[1]
    blended = mixup(log_mel, target.masked_fill(unknown, torch.nan), n_frames, 1.0, generator())[1]
    marks = mixup(log_mel, unknown.float(), n_frames, 1.0, generator())[1]
    assert torch.equal(blended.isnan(), marks > 0)
    assert torch.equal(blended[~blended.isnan()], clean[~blended.isnan()])


def test_a_mix_of_clips_has_a_label_that_either_has_even_if_the_other_is_unknown():
    log_mel, n_frames = torch.zeros(2, 4, 4), torch.tensor([4, 4])
    target = torch.tensor([[1.0, 0.0, torch.nan, 0.0], [torch.nan, torch.nan, torch.nan, 0.0]])
    for seed in range(20):
        _, mixed, _ = mix_clips(log_mel, target, n_frames, generator(seed), 1.0, 0.0)
        if not torch.equal(mixed.nan_to_num(9), target.nan_to_num(9)):
            break
    torch.testing.assert_close(mixed, torch.tensor([[1.0, torch.nan, torch.nan, 0.0]] * 2), equal_nan=True)


def test_mixup_refuses_alpha_0():
    with pytest.raises(ConfigError, match="mixup_alpha: a number above 0"):
        mixup(*batch(2), 0.0, generator())


def test_spec_augment_hides_stripes_with_the_mean_in_each_clip_differently():
    log_mel = torch.randn(64, 400, 64, generator=generator(5))
    n_frames = torch.full((64,), 400)
    out = spec_augment(log_mel, n_frames, generator(), TrainConfig())
    hidden = out != log_mel
    time, mel = hidden.all(2), hidden.all(1)
    assert torch.equal(hidden, time[:, :, None] | mel[:, None, :])
    assert time.sum(1).max() <= 52 and mel.sum(1).max() <= 16
    assert 18 < time.float().sum(1).mean() < 30 and 5 < mel.float().sum(1).mean() < 10
    assert len({tuple(row.tolist()) for row in time}) > 60
    mean = log_mel.mean((1, 2))[:, None, None].expand_as(out)
    torch.testing.assert_close(out[hidden], mean[hidden])


def test_spec_augment_stays_within_a_clip_and_leaves_half_of_a_short_one():
    log_mel = torch.randn(50, 100, 32, generator=generator(5))
    n_frames = torch.full((50,), 12)
    out = spec_augment(log_mel, n_frames, generator(), TrainConfig(n_mel_stripes=0))
    assert torch.equal(out[:, 12:], log_mel[:, 12:])
    assert (out != log_mel).any(2).sum(1).max() <= 6
    hidden = (out != log_mel).any(2)
    expected = log_mel[:, :12].mean((1, 2))
    for row, where, mean in zip(out, hidden, expected, strict=True):
        torch.testing.assert_close(row[where], mean.expand_as(row[where]))


def test_the_generator_decides_everything():
    log_mel, target, n_frames = batch()
    state = torch.get_rng_state()
    for function in (
        lambda g: mixup(log_mel, target, n_frames, 0.5, g)[0],
        lambda g: spec_augment(log_mel + torch.arange(32), n_frames, g, TrainConfig()),
    ):
        assert torch.equal(function(generator(1)), function(generator(1)))
        assert not torch.equal(function(generator(1)), function(generator(2)))
    assert torch.equal(state, torch.get_rng_state())


def test_bad_stripes_say_so():
    with pytest.raises(ConfigError, match="time_width: at least 0 was expected, not -1"):
        TrainConfig(time_width=-1)


def ramp(n_clips: int = 32, n_frames: int = 100, n_mels: int = 32):
    """Clips in which a place can be read off its value: 100 x frame + mel."""
    place = 100.0 * torch.arange(n_frames)[:, None] + torch.arange(n_mels)
    return place.expand(n_clips, -1, -1).clone(), torch.full((n_clips,), n_frames)


def test_a_shifted_clip_only_starts_elsewhere():
    log_mel, n_frames = ramp()
    moved = random_shift_stretch(log_mel, n_frames, generator(), 0.0, 0.0)
    starts = moved[:, 0, 0] / 100
    assert starts.std() > 15
    steps = moved.diff(dim=1)[..., 0]
    # one step leads from the last frame to the first, two where it is between frames
    assert ((steps - 100).abs() > 0.1).sum(1).max() <= 2
    torch.testing.assert_close(moved - moved[..., :1], log_mel - log_mel[..., :1], rtol=0, atol=1e-2)


def test_shift_and_stretch_change_speed_and_pitch_within_bounds():
    log_mel, n_frames = ramp(256)
    moved = random_shift_stretch(log_mel, n_frames, generator(), 0.25, 3.0)
    speed = (moved.diff(dim=1)[..., 16] / 100).median(1).values
    assert 1 / 1.26 < speed.min() < 0.82
    assert 1.22 < speed.max() < 1.26
    shift = moved[:, 50, 16] % 100 - 16
    usual = ((moved[:, 50, 20] - moved[:, 50, 16] - 4).abs() < 1e-2) & (moved[:, 50, 16] < 9800)
    assert usual.sum() > 200
    fraction = moved[:, 50, 16] - 100 * (moved[:, 50, 0] / 100).floor()
    assert torch.isfinite(fraction).all() and torch.isfinite(shift).all()
    low = moved[:, 50, 31] - moved[:, 50, 0]
    assert low.min() < 31 - 2.5  # bins beyond the edge repeat it
    assert low.max() <= 31 + 1e-2


def test_shift_and_stretch_leave_padding_alone():
    log_mel, _ = ramp(8)
    n_frames = torch.tensor([1, 2, 10, 50, 99, 100, 37, 16])
    for clip, length in enumerate(n_frames.tolist()):
        log_mel[clip, length:] = FLOOR_DB
    moved = random_shift_stretch(log_mel, n_frames, generator(), 0.3, 4.0)
    for clip, length in enumerate(n_frames.tolist()):
        assert (moved[clip, length:] == FLOOR_DB).all()
        assert moved[clip, :length].min() >= 0
        assert moved[clip, :length].max() <= 100 * (length - 1) + 31.01


def test_a_crop_holds_a_loud_moment_of_every_clip():
    log_mel, _ = ramp(200)
    log_mel /= 1000.0  # 0 to 10 dB, by the place
    n_frames = torch.tensor([100, 60] * 100)
    quiet = torch.ones(200, 100, dtype=torch.bool)
    quiet[:, 20:23] = False  # the loud part
    log_mel[quiet] -= 60
    log_mel[1::2, 60:] = FLOOR_DB
    lengths, places = set(), set()
    for seed in range(40):
        cut, kept = crop(log_mel, n_frames, generator(seed), 0.1)
        length = cut.shape[1]
        assert 10 <= length <= 100
        assert torch.equal(kept, n_frames.clamp(max=length))
        loud = cut[..., 0] > -5
        assert loud.any(1).all()
        lengths.add(length)
        places |= set(loud.float().argmax(1).tolist())
        inside = torch.arange(length) < kept[:, None]
        assert (cut[~inside] == FLOOR_DB).all()
        # what is kept is one piece of the clip
        where = torch.where(cut > -5, cut, cut + 60)[..., 0] * 10
        steps = where.diff(dim=1)[inside[:, 1:]]
        torch.testing.assert_close(steps, torch.ones_like(steps), rtol=0, atol=1e-3)
    assert len(lengths) > 20 and min(lengths) < 14 and max(lengths) > 80
    assert len(places) > 15


def test_a_crop_of_silence_or_of_the_whole_clip_is_valid():
    log_mel, n_frames = ramp(4)
    whole, kept = crop(log_mel, n_frames, generator(), 1.0)
    assert torch.equal(whole, log_mel) and torch.equal(kept, n_frames)
    silent, kept = crop(torch.full((4, 100, 32), FLOOR_DB), n_frames, generator(), 0.2)
    assert (silent == FLOOR_DB).all() and (kept == silent.shape[1]).all()


def test_a_mix_adds_powers_and_labels():
    log_mel, target, n_frames = batch(64)
    log_mel = -log_mel  # levels from 0 to -63 dB
    mixed, both, _ = mix_clips(log_mel, target, n_frames, generator(), 0.5, 6.0)
    alone = both.sum(1) == 1
    assert 20 < alone.sum() < 44
    assert torch.equal(mixed[alone], log_mel[alone])
    assert (both.sum(1)[~alone] == 2).all() and (both.diagonal() == 1).all()
    # the other clip lies within 6 dB of the clip: together they are 0.97 to 6.97 dB louder than it
    louder = (mixed - log_mel)[~alone][:, 0, 0]
    assert 0.96 < louder.min() < 2 and 6 < louder.max() < 6.98


def test_a_mix_is_as_long_as_its_longer_part_and_silence_adds_nothing():
    log_mel, target, _ = batch(16, 20)
    log_mel = -log_mel
    n_frames = torch.tensor([20, 10] * 8)
    log_mel[1::2, 10:] = FLOOR_DB
    log_mel[4] = FLOOR_DB
    mixed, both, lengths = mix_clips(log_mel, target, n_frames, generator(1), 1.0, 10.0)
    assert torch.isfinite(mixed).all() and mixed.min() >= FLOOR_DB
    for clip in range(16):
        parts = both[clip].nonzero().flatten()
        assert lengths[clip] == n_frames[parts].max()
        if clip == 4 or len(parts) == 1:
            assert parts.tolist() == [clip]
            assert torch.equal(mixed[clip], log_mel[clip])
        assert 4 not in parts or clip == 4


def test_the_equalizer_changes_level_and_response_but_not_silence():
    log_mel = torch.full((200, 10, 64), -40.0)
    log_mel[:, 3] = FLOOR_DB
    changed = random_equalizer(log_mel, generator(), 10.0, 0.0) + 40
    assert (changed[:, 3] == FLOOR_DB + 40).all()
    torch.testing.assert_close(changed[:, 0], changed[:, :1, 0].expand(-1, 64))
    assert -10 <= changed[:, 0].min() < -9 and 9 < changed[:, 0].max() <= 10
    coloured = random_equalizer(log_mel, generator(), 0.0, 6.0)[:, 0] + 40
    assert 5 < coloured.abs().max() <= 6
    assert coloured.diff(dim=1).abs().max() < 12 / (63 / 5)  # straight between six points


def test_silence_is_that_of_the_front_end():
    assert FLOOR_DB == frontend.FLOOR_DB


def test_the_new_augmentations_follow_their_generator():
    log_mel, n_frames = ramp(16)
    log_mel, target = -log_mel / 200, torch.eye(16)
    for change in (
        lambda g: random_shift_stretch(log_mel, n_frames, g, 0.2, 2.0),
        lambda g: crop(log_mel, n_frames, g, 0.2)[0],
        lambda g: mix_clips(log_mel, target, n_frames, g, 0.7, 10.0)[0],
        lambda g: random_equalizer(log_mel, g, 10.0, 6.0),
    ):
        assert torch.equal(change(generator(5)), change(generator(5)))
        assert not torch.equal(change(generator(5)), change(generator(6)))
