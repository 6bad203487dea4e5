"""The parts of a step."""

from dataclasses import replace

import pytest
import torch

from earmark.model.network import Network
from earmark.training import loop
from earmark.training.batches import Waveforms
from earmark.training.initial import initial_network
from earmark.training.loop import filled, loss_of, update_average, weight_of_known
from tests.training.tones import SMALL, TWO_EPOCHS, batches_of, run, tones, with_broken


def test_readable_clips_replace_unreadable_ones():
    data = with_broken(tones(n_clips=4), 2)
    batches = batches_of(data, Waveforms(data.clips, 16000), order="clips")
    for step in range(9):
        batch = batches[step]
        assert len(batch.ids) + len(batch.failed) == 4 and not any(name.startswith("broken") for name in batch.ids)
        waveform, target, lengths = filled(batch.features, batch.target, batch.lengths, 4)
        assert len(waveform) == 4 and lengths.tolist() == [12800] * 4
        assert torch.equal(target, torch.cat([batch.target] * 4)[:4])
    assert {name for step in range(9) for name, _ in batches[step].failed} == {"broken-0", "broken-1"}


@pytest.mark.parametrize("limit", [0.0, 0.01])
def test_gradient_clip_bounds_the_norm(tmp_path, monkeypatch, limit):
    norms = []

    def noting(averaged, network, decay):
        # the gradients are those that the optimizer has just used
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        norms.append(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients])).item())
        update_average(averaged, network, decay)

    monkeypatch.setattr(loop, "update_average", noting)
    run(tmp_path, replace(TWO_EPOCHS, gradient_clip=limit))
    assert len(norms) == 4
    if limit:
        assert norms == pytest.approx([limit] * 4, rel=1e-3)
    else:
        assert min(norms) > 0.02


def test_the_saved_weights_are_the_average_batch_norm_included(tmp_path, monkeypatch):
    seen, start = [], {}

    def noting(averaged, network, decay):
        start.update({} if start else {name: value.clone() for name, value in averaged.state_dict().items()})
        update_average(averaged, network, decay)
        seen.append({name: value.clone() for name, value in network.state_dict().items()})

    monkeypatch.setattr(loop, "update_average", noting)
    result = run(tmp_path, replace(SMALL, n_clips_seen=16))
    expected = {name: value.double() for name, value in start.items()}
    for step, weights in enumerate(seen):
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in weights.items():
            floating = value.is_floating_point()
            expected[name] = decay * expected[name] + (1 - decay) * value.double() if floating else value.double()
    saved = Network.load(result.last).state_dict()
    assert any("running_var" in name for name in saved)
    for name, value in saved.items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("shortest", "cut"), [(1.0, False), (0.3, True)])
def test_the_network_sees_the_crops(tmp_path, monkeypatch, shortest, cut):
    seen = []
    original = Network.logits_from_log_mel

    def spied(self, log_mel, n_frames=None):
        if self.training:
            seen.append((log_mel.shape[1], int(n_frames.max())))
        return original(self, log_mel, n_frames)

    monkeypatch.setattr(Network, "logits_from_log_mel", spied)
    run(tmp_path, replace(SMALL, shortest_crop=shortest))
    assert all(length == longest for length, longest in seen)
    assert (len(set(seen)) > 1) == cut


def test_unknown_labels_have_no_loss_and_no_gradient():
    generator = torch.Generator().manual_seed(0)
    target = (torch.rand((6, 4), generator=generator) < 0.4).float()
    known = torch.rand((6, 4), generator=generator) < 0.5
    logits = torch.randn((6, 4), generator=generator, requires_grad=True)
    partly = target.masked_fill(~known, torch.nan)
    loss = loss_of(logits, partly, 0.0, weight_of_known(partly))
    alone = torch.nn.functional.binary_cross_entropy_with_logits(logits[known], target[known])
    torch.testing.assert_close(loss, alone)
    (gradient,) = torch.autograd.grad(loss_of(logits, partly, 0.5, weight_of_known(partly)), logits)
    assert not gradient[~known].any() and gradient[known].all() and gradient.isfinite().all()


def test_the_loss_of_shares_adds_up_to_that_of_the_step():
    target = torch.tensor([[1.0, torch.nan], [0.0, 1.0], [torch.nan, torch.nan], [torch.nan, 0.0]])
    logits, weight = torch.tensor([[0.5, 1.0], [-1.0, 2.0], [3.0, 1.0], [0.0, -2.0]]), weight_of_known(target)
    halves = [loss_of(logits[half], target[half], 0.0, weight) for half in (slice(2), slice(2, 4))]
    torch.testing.assert_close(sum(halves) / 2, loss_of(logits, target, 0.0, weight))


def test_a_step_that_knows_nothing_has_no_loss():
    target = torch.full((2, 3), torch.nan)
    assert loss_of(torch.randn(2, 3), target, 1.0, weight_of_known(target)) == 0


def test_a_label_that_no_clip_knows_keeps_its_weights(tmp_path):
    data = tones()
    clips = [replace(c, labels=tuple(x for x in c.labels if x == "low"), known=("low",)) for c in data]
    trained = Network.load(run(tmp_path, TWO_EPOCHS, replace(data, clips=tuple(clips))).last)
    first = initial_network(TWO_EPOCHS, data.labels, {}, True, lambda text: None)
    moved = (trained.classifier[-1].weight != first.classifier[-1].weight).any(1)
    assert [name for name, has_moved in zip(data.labels, moved, strict=True) if has_moved] == ["low"]
