"""The ablation of recording conditions."""

import json

from earmark.training import TrainConfig
from experiments.conditions import KEPT, ROWS, page
from experiments.degraded import DEGRADATIONS


def test_each_row_is_a_valid_config_with_one_condition() -> None:
    shares = [name for name in TrainConfig.__dataclass_fields__ if name.endswith("_share") and name != "mix_share"]
    for name, settings in ROWS.items():
        config = TrainConfig(**settings)
        used = [share for share in shares if getattr(config, share) > 0 and config.n_variants]
        wanted = {"nothing": [], "level": []}.get(name, shares if "all" in name else [f"{name}_share"])
        assert sorted(used) == sorted(wanted), name


def test_the_page_shows_the_mean_over_degradations() -> None:
    figures = {name: {"n": 80, "top1": 0.5, "mAP": 0.75} for name in DEGRADATIONS}
    figures["as they are"] = {"n": 80, "top1": 0.9, "mAP": 0.95}
    text = page({"labels": 10, "width": 8, "n_clips_seen": 8000, "seed": 0, "rows": {"nothing": figures}})
    assert "| nothing | 0.500 | 0.750 | 0.900 |" in text


def test_the_page_follows_from_the_kept_figures() -> None:
    assert page(json.loads(KEPT.read_text())) == KEPT.with_suffix(".md").read_text(encoding="utf-8")
