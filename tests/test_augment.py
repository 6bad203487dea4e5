import pytest
import torch

from earmark.augment import SpecAugmentConfig, mixup, spec_augment
from earmark.errors import ConfigError


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
        weight = weight[weight < 1]  # the one clip in 2000 that met itself
        assert weight.mean().item() == pytest.approx(0.5, abs=0.03)
        assert weight.var().item() == pytest.approx(spread, rel=0.1)


def test_a_blend_is_as_long_as_its_longer_part():
    log_mel, target, _ = batch(8)
    n_frames = torch.arange(1, 9) * 10
    _, mixed_target, mixed_frames = mixup(log_mel, target, n_frames, 1.0, generator())
    parts = [n_frames[row > 0].max() for row in mixed_target]
    assert mixed_frames.tolist() == parts


def test_mixup_refuses_alpha_0():
    with pytest.raises(ConfigError, match="mixup_alpha: a number above 0"):
        mixup(*batch(2), 0.0, generator())


def test_spec_augment_hides_stripes_with_the_mean_in_each_clip_differently():
    log_mel = torch.randn(64, 400, 64, generator=generator(5))
    n_frames = torch.full((64,), 400)
    out = spec_augment(log_mel, n_frames, generator(), SpecAugmentConfig())
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
    out = spec_augment(log_mel, n_frames, generator(), SpecAugmentConfig(n_mel_stripes=0))
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
        lambda g: spec_augment(log_mel + torch.arange(32), n_frames, g, SpecAugmentConfig()),
    ):
        assert torch.equal(function(generator(1)), function(generator(1)))
        assert not torch.equal(function(generator(1)), function(generator(2)))
    assert torch.equal(state, torch.get_rng_state())


def test_bad_stripes_say_so():
    with pytest.raises(ConfigError, match="time_width: 0 or more was expected, not -1"):
        SpecAugmentConfig(time_width=-1)
