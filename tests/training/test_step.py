"""The parts of a step."""

from dataclasses import replace

import pytest
import torch

from earmark.model.network import Network
from earmark.training import loop
from earmark.training.batches import Waveforms
from earmark.training.loop import filled, update_average
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
