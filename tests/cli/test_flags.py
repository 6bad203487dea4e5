"""The help of the flags: limits and headings."""

import re

import pytest

from earmark import cli
from earmark.training.choices import Topic


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


@pytest.mark.parametrize(
    ("command", "limits"),
    [
        ("soundscapes", ["Number of soundscapes. [at least 1]", "[at least 1000]"]),
        ("tag", ["Excludes --threshold. [at least 1]", "[from 0 to 1]"]),
        ("demo", ["[at least 0]"]),
        ("doctor", ["[at least 0]", "[at most 0]", "[above 0 and at most 1]"]),
        ("bulk", ["Processors of each worker process. [above 0]"]),
    ],
)
def test_limits_are_in_the_help_of_every_command(
    command: str, limits: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, "--help"]) == 0
    printed = " ".join(capfd.readouterr().out.replace("│", " ").split())
    assert all(limit in printed for limit in limits)


def test_a_value_outside_its_limits_is_shown_in_full(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tag", "a.wav", "--top", "-1234567"]) == 2
    assert "Expected at least 1, got -1234567" in capfd.readouterr().err
