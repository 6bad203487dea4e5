"""The contract of every backbone."""

import pytest
import torch

from earmark.model.backbones import BACKBONES, Backbone
from tests.networks import backbone


@pytest.fixture(params=BACKBONES.values(), ids=BACKBONES)
def kind(request: pytest.FixtureRequest) -> type[Backbone]:
    return request.param


def segments_of(kind, net, log_mel, n_frames=None):
    """The segments from a log-mel, and from a waveform that follows from it, of the halves of 16 mel bins each."""
    if not kind.takes_waveform:
        return net(log_mel) if n_frames is None else net(log_mel, n_frames)
    waveform = log_mel.detach()[..., :32].repeat(1, 1, 10).flatten(1)
    return net(log_mel, waveform=waveform) if n_frames is None else net(log_mel, n_frames, waveform, 320 * n_frames)


def test_the_receptive_field_is_exact(kind):
    net = backbone(kind, width=16)
    n = net.frames_per_segment
    middle = max(6, -(-(net.halo or 0) // n) + 1)
    log_mel = torch.randn(1, 2 * middle * n, 32, requires_grad=True)
    segments_of(kind, net, log_mel)[0, middle].sum().backward()
    touched = log_mel.grad[0].abs().sum(1).nonzero().flatten()
    if net.halo is None:
        assert len(touched) == log_mel.shape[1]
        return
    assert touched.min() == middle * n - net.halo
    assert touched.max() == (middle + 1) * n - 1 + net.halo
    assert len(touched) == net.frames_per_segment + 2 * net.halo


@pytest.mark.parametrize("lengths", [[1], [15, 16, 17], [160, 3, 97, 64], [33, 400]])
@pytest.mark.parametrize("partial_segments", [True, False])
def test_padding_does_not_leak(kind, lengths, partial_segments):
    if not (partial_segments or kind.can_drop_frames):
        pytest.skip("its clips always end in a partial segment")
    net, n = backbone(kind, partial_segments=partial_segments), kind.frames_per_segment
    clips = [torch.randn(n, 32) for n in lengths]
    with torch.no_grad():
        alone = [segments_of(kind, net, clip[None])[0] for clip in clips]
        assert [len(one) for one in alone] == [-(-n_ // n) if partial_segments else max(1, n_ // n) for n_ in lengths]
        for filler in (0.0, -100.0, 1e4):
            batch = torch.full((len(clips), max(lengths), 32), filler)
            for row, clip in zip(batch, clips, strict=True):
                row[: len(clip)] = clip
            together = segments_of(kind, net, batch, torch.tensor(lengths))
            for row, one, clip in zip(together, alone, clips, strict=True):
                scale = max(1.0, float(one.abs().max()))  # rounding differs between processors
                atol = (1e-5 if len(clip) > 15 else 1e-4) * scale
                torch.testing.assert_close(row[: len(one)], one, rtol=1e-5, atol=atol)


@pytest.mark.parametrize("n_frames", [1, 2, 15, 17, 18, 31])
def test_the_last_frame_of_a_partial_segment_counts(kind, n_frames):
    net, log_mel = backbone(kind, width=16), torch.randn(1, n_frames, 32, requires_grad=True)
    segments = segments_of(kind, net, log_mel)
    assert segments.shape[1] == -(-n_frames // kind.frames_per_segment)
    segments[0, -1].sum().backward()
    weights = log_mel.grad[0].abs().sum(1)
    assert weights[-1] > 0.1 * weights.mean()


@pytest.mark.parametrize("n_frames", [1, 13, 200])
def test_training_on_clips_of_one_length_needs_no_mask(kind, n_frames):
    net, other = backbone(kind).double().train(), backbone(kind).double().train()
    net.block_dropout = other.block_dropout = 0.0
    log_mel = torch.randn(3, n_frames, 32, dtype=torch.float64)
    longer = torch.cat([log_mel, torch.full((3, kind.frames_per_segment, 32), 9.0)], 1)
    masked = segments_of(kind, other, longer, torch.full((3,), n_frames))
    segments = segments_of(kind, net, log_mel)
    torch.testing.assert_close(masked[:, : segments.shape[1]], segments)
    for one, two in zip(net.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("n_frames", [1, 15, 16, 17, 33, 400])
def test_folded_gives_the_segments_of_the_backbone(kind, n_frames):
    net = backbone(kind, n_mels=64)
    log_mel = torch.randn(2, n_frames, 64)
    with torch.inference_mode():
        expected = segments_of(kind, net, log_mel)
        tolerance = 1e-5 * max(1.0, float(expected.abs().max()))
        torch.testing.assert_close(segments_of(kind, net.folded(), log_mel), expected, atol=tolerance, rtol=1e-5)
        in_half = segments_of(kind, net.folded(torch.bfloat16), log_mel)
    assert in_half.dtype == torch.float32
    assert (in_half - expected).abs().max() < 0.03 * expected.abs().max()
