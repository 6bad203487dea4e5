"""Profiles: all cells can be trained, and `full` is the paper's network."""

from dataclasses import replace

import pytest

from earmark.errors import ConfigError
from earmark.labels import LabelSet
from earmark.model.network import Network
from earmark.model.pooling import POOLINGS
from earmark.training import TrainConfig
from experiments.table1.profiles import ABLATIONS, CELLS, POOLING_CELLS, PROFILES, Profile


def test_the_cells_are_the_poolings_and_gmaps_ablations():
    assert set(POOLING_CELLS) < set(POOLINGS)
    assert len(CELLS) == len(POOLING_CELLS) + len(ABLATIONS) == 12


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_of_every_profile_is_a_network_and_differs_in_its_cell_alone(name, cell):
    config = PROFILES[name].config(cell, seed=2)
    network = Network(config.network_config(), LabelSet(tuple("abcdefghij")))
    assert network.n_parameters > 0
    plain = PROFILES[name].training.to_json()
    differing = {key for key, value in config.to_json().items() if plain[key] != value}
    assert differing == ({*CELLS[cell], "seed"} if cell != "gmap" else {"seed"})


def test_full_is_the_papers_network_and_training():
    config = PROFILES["full"].training
    network = Network(config.network_config(), LabelSet.audioset())
    assert network.n_parameters == 6_531_535
    assert replace(config, n_clips_seen=TrainConfig().n_clips_seen, cache="auto") == TrainConfig()


def test_a_profile_survives_json_and_refuses_invalid_values():
    for profile in PROFILES.values():
        assert Profile.from_json(profile.to_json()) == profile
    with pytest.raises(ConfigError, match="n_test: 1 or more was expected, not 0"):
        replace(PROFILES["small"], n_test=0)
    broken = PROFILES["small"].to_json()
    broken["training"]["widht"] = 3
    with pytest.raises(ConfigError, match="did you mean 'width'"):
        Profile.from_json(broken)
