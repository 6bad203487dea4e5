import numpy as np
import pytest
import torch

from earmark.data import open_data
from earmark.data.clips import Clip
from earmark.data.segments import Encoder
from earmark.errors import DataError
from earmark.evaluation.segment_scores import check_encoder, check_finite, score_segments
from earmark.labels import LabelSet
from earmark.model.head import Head, HeadConfig
from tests.data.conftest import Burst
from tests.data.test_clips import dataset as sounds
from tests.data.test_clips import made_store

ENCODER = Encoder("a", "1" * 64, 2, 0.5, 16000)


def head() -> Head:
    torch.manual_seed(0)
    return Head(HeadConfig(2, pooling="mean"), LabelSet(("dog", "rain"))).eval()


def test_each_clip_has_the_scores_that_it_has_alone(tmp_path):
    stored, net = open_data(f"segments:{made_store(tmp_path)}"), head()
    seen = []
    with torch.inference_mode():
        scores = score_segments(net, stored, lambda done, n: seen.append((done, n)))
        for number in range(4):
            alone = net(torch.full((1, number + 1, 2), float(number))).sigmoid()[0]
            np.testing.assert_allclose(scores[number], alone.numpy(), rtol=1e-5)
    assert seen == [(4, 4)]


def test_segments_of_another_encoder_and_sound_are_refused():
    net = head()
    with pytest.raises(DataError, match="another encoder"):
        check_encoder(net, ENCODER, "data")
    net.extra["encoder"] = {"name": "a", "sha256": ENCODER.sha256}
    check_encoder(net, ENCODER, "data")
    with pytest.raises(DataError, match="segments by a were expected"):
        check_encoder(net, None, "data")
    with pytest.raises(DataError, match="these have sound"):
        score_segments(net, sounds(Clip("a", ("dog",), Burst())))


def test_scores_that_are_not_finite_name_their_clip():
    check_finite(np.zeros((2, 3), np.float32), ["a", "b"])
    with pytest.raises(DataError, match="clip 'b'"):
        check_finite(np.array([[0.0], [np.nan]], np.float32), ["a", "b"])
