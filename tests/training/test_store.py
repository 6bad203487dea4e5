"""Log-mels on disk."""

import os
from dataclasses import replace

import numpy as np
import pytest

from earmark.errors import DataError
from earmark.model.frontend import FrontendConfig, LogMel
from earmark.training.cache import log_mels
from earmark.training.store import FeatureStore
from tests.training.tones import assert_same_state, in_files, run, state_of, tones


def _forbidden(*_):
    raise RuntimeError("log-mels were computed although they are kept")


def test_kept_log_mels_are_not_computed_again_and_change_nothing(tmp_path, monkeypatch):
    store, data = tmp_path / "features", in_files(tones(), tmp_path / "audio")
    run(tmp_path / "without", data=data)
    run(tmp_path / "first", data=data, features=store)
    monkeypatch.setattr("earmark.training.features.log_mels", _forbidden)
    run(tmp_path / "second", data=data, features=store)
    for name in ("first", "second"):
        assert_same_state(state_of(tmp_path / name), state_of(tmp_path / "without"))
    os.utime(tmp_path / "audio" / "tones-3.flac", (1, 1))
    with pytest.raises(RuntimeError, match="computed"):
        run(tmp_path / "changed", data=data, features=store)


def test_kept_log_mels_have_each_clips_own_length(tmp_path):
    data = replace(tones(), clips=(*tones("long", 2, 1.1).clips, *tones(n_clips=2).clips))
    data = in_files(data, tmp_path / "audio")
    mels = log_mels(data.clips, LogMel(FrontendConfig.at_16k()), 0, lambda n: None)[0]
    store, config = FeatureStore(tmp_path), FrontendConfig.at_16k()
    assert store.find(data, config) is None
    store.keep(data, config, [None, *mels[1:]])
    found = store.find(data, config)
    assert found[0] is None
    assert [np.array_equal(a, b) for a, b in zip(found[1:], mels[1:], strict=True)] == [True] * 3
    assert store.find(data, FrontendConfig()) is None
    (values,) = tmp_path.glob("*.npy")
    values.write_bytes(values.read_bytes()[:-4])
    with pytest.raises(DataError, match="damaged; delete it and run again"):
        store.find(data, config)


def test_log_mels_of_sounds_that_are_no_files_are_not_kept(tmp_path):
    # these two cannot be distinguished
    data, store, config = tones(), FeatureStore(tmp_path), FrontendConfig.at_16k()
    store.keep(data, config, log_mels(data.clips, LogMel(config), 0, lambda n: None)[0])
    assert store.find(data, config) is None
