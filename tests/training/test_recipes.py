"""Recipes: their descriptions, and training on clips with AudioSet's labels."""

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from earmark.audio.recording import Audio, save_audio
from earmark.data import open_data
from earmark.errors import ConfigError
from earmark.labels import LabelSet
from earmark.model.mel import mel_filters
from earmark.model.network import Network
from earmark.training import TrainConfig, train
from earmark.training.recipes import RECIPES, recipe
from tests.networks import multiplications

AUDIOSET_LABELS = ("Speech", "Male speech, man speaking", "Dog", "Bark", "Music")
N_AUDIOSET_CLIPS = 2_041_789 + 22_160


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_what_it_is_for_and_what_it_costs(name):
    entry = RECIPES[name]
    assert recipe(name) is entry.config
    assert TrainConfig.from_json(entry.config.to_json()) == entry.config
    for line in (entry.description, entry.cost):
        assert line and "\n" not in line and not line.endswith(".")
    clips, unit = entry.cost.split()[:2]
    million = 1_000_000 if unit == "million" else 1
    assert entry.config.n_clips_seen == float(clips.replace(",", "")) * million


def test_an_unknown_recipe_is_refused_with_the_likely_one():
    with pytest.raises(ConfigError, match="a recipe was expected, not 'papr'; did you mean 'paper'"):
        recipe("papr")
    with pytest.raises(
        ConfigError, match="a recipe was expected, not 'xyz'; the recipes are paper, fine, light, small"
    ):
        recipe("xyz")


@pytest.mark.parametrize("name", RECIPES)
def test_every_mel_bin_covers_a_frequency(name):
    filters = mel_filters(recipe(name).network_config().frontend)
    assert (filters.sum(0) > 0).all()


def cost_of(name):
    """Multiplications of a clip."""
    return multiplications(recipe(name).network_config())


def test_fine_and_light_change_only_resolution_or_backbone():
    paper, fine, light = (recipe(name) for name in ("paper", "fine", "light"))
    assert light == replace(paper, backbone="light")
    assert fine == replace(paper, n_mels=128, hop_ms=10.0, time_width=65, mel_width=16)
    # the stripes hide as many seconds and as much of the frequency axis
    assert fine.time_width * fine.hop_ms == paper.time_width * paper.hop_ms
    assert fine.mel_width / fine.n_mels == paper.mel_width / paper.n_mels


def test_the_stated_multiplications_are_those_of_the_networks():
    for name in ("fine", "light"):
        stated = re.search(r"each with (\S+) times the multiplications", RECIPES[name].cost).group(1)
        assert f"{cost_of(name) / cost_of('paper'):.{len(stated.partition('.')[2])}f}" == stated
    millions = (Network(recipe(n).network_config(), LabelSet.audioset()).n_parameters / 1e6 for n in ("light", "paper"))
    assert "{:.1f} million parameters, not {:.1f}".format(*millions) in RECIPES["light"].cost


def test_a_segment_of_fine_is_shorter():
    network = Network(replace(recipe("fine"), width=2).network_config(), LabelSet(("a",))).eval()
    segments = network.encode(torch.zeros(1, 320000))
    assert segments.shape == (1, 63, 16) and network.seconds_per_segment == pytest.approx(0.16)


def test_the_papers_recipe_is_the_papers_network_trained_like_panns():
    config = recipe("paper")
    network = Network(config.network_config(), LabelSet.audioset())
    assert network.n_parameters == 6_531_535
    frontend = config.network_config().frontend
    assert (frontend.sample_rate, frontend.n_mels, 10 / frontend.seconds_per_frame) == (32000, 64, 400)
    assert (config.batch_size, config.learning_rate, config.mixup_alpha) == (32, 1e-3, 1.0)
    assert config.spec_augment and config.balanced
    assert config.schedule == "constant" and config.ema_decay == 0
    assert 9 < config.n_clips_seen / N_AUDIOSET_CLIPS < 11


def test_the_recipe_of_the_released_features_is_one_that_the_search_chose():
    log = Path(__file__).parents[2] / "results" / "audioset" / "search.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    of_gmap = [line for line in lines if line["cell"] == "gmap"]
    budget = {"n_clips_seen": 3 * 22_160, "clips_per_epoch": 22_160, "device": "auto", "precision": "auto"}
    same = [
        line for line in of_gmap if TrainConfig.from_json({**line["settings"], **budget}) == recipe("audioset-features")
    ]
    assert same and max(line["mAP"] for line in of_gmap) - same[0]["mAP"] < 0.001


@pytest.mark.parametrize("name", ["paper", "fine", "light"])
def test_a_recipe_trains_on_a_small_folder_with_audiosets_labels(name, tmp_path):
    data = audioset_shaped(tmp_path, n_clips=6)
    tiny = replace(recipe(name), width=2, n_clips_seen=12, batch_size=4, clip_duration=1.0, n_workers=0)
    result = train(tiny, data, tmp_path / "run", data_of_others(tmp_path), progress=False)
    network = Network.load(result.last)
    assert set(network.labels) == set(AUDIOSET_LABELS) < set(LabelSet.audioset().names)
    assert network.config == tiny.network_config()
    assert network.config.pooling == "gmap" and network.config.frontend.sample_rate == 32000
    assert len(result.history) == 3 and all(math.isfinite(epoch.train_loss) for epoch in result.history)
    assert result.history[-1].valid_mAP is not None


def data_of_others(folder):
    (folder / "others").mkdir()
    return audioset_shaped(folder / "others", n_clips=3, seed=1)


def audioset_shaped(folder, n_clips, seed=0):
    """Clips of several lengths with AudioSet's labels, one of them with a comma."""
    rng = np.random.default_rng(seed)
    with (folder / "clips.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "labels"])
        for number in range(n_clips):
            seconds = 0.6 if number == 1 else 1.0
            noise = 0.1 * rng.standard_normal(round(32000 * seconds)).astype(np.float32)
            save_audio(folder / f"Y-{number}.flac", Audio(noise, 32000))
            labels = AUDIOSET_LABELS[:3] if number % 2 else AUDIOSET_LABELS[2:]
            table.writerow([f"Y-{number}.flac", ";".join(labels)])
    return open_data(f"csv:{folder / 'clips.csv'}")
