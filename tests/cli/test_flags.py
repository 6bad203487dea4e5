"""The help of the flags: limits and headings."""

import re

import pytest

from earmark import cli
from earmark.training.settings import Topic


def test_the_help_of_train_has_a_heading_for_each_topic(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--help"]) == 0
    printed = capfd.readouterr().out
    assert re.findall(r"^╭─ (\w+) ─", printed, re.MULTILINE) == ["Parameters", *(topic.value for topic in Topic)]
    panels = {panel.partition(" ")[0]: " ".join(panel.replace("│", " ").split()) for panel in printed.split("╭─ ")}
    for topic, flag in (
        ("Parameters", "--out"),
        ("Data", "--split"),
        ("Data", "--balanced"),
        ("Network", "--n-heads"),
        ("Optimisation", "--learning-rate"),
        ("Augmentation", "--random-shift-stretch"),
        ("Hardware", "--n-workers"),
    ):
        assert flag in panels[topic], (topic, flag)
    assert "[at least 1] [default: 64]" in panels["Network"]
    assert "[from 0 to 1] [default: 0.0]" in panels["Augmentation"]


def test_limits_are_in_the_help_of_every_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["soundscapes", "--help"]) == 0
    assert "[at least 1000]" in " ".join(capfd.readouterr().out.replace("│", " ").split())
