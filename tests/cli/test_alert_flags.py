"""Alerts chosen by flags: what is sent, how often, and what is refused."""

import json
import sys
from pathlib import Path

import pytest

from earmark.cli.alert_flags import AlertFlags
from earmark.errors import ConfigError
from earmark.listening import alerts
from earmark.listening.listener import Message

WRITE = "import sys; open(sys.argv[1], 'a').write(repr(sys.argv[2:]) + chr(10))"


@pytest.mark.parametrize(("alert_at", "kind"), [("end", "event"), ("begin", "began")])
def test_the_command_gets_the_chosen_events_within_the_budget(tmp_path: Path, monkeypatch, alert_at, kind):
    monkeypatch.setattr(alerts, "_SECONDS_TO_END", 600.0)  # two interpreters start, perhaps on a busy machine
    script, out = tmp_path / "alert.py", tmp_path / "alerts.txt"
    script.write_text(WRITE)
    flags = AlertFlags(exec=f"'{sys.executable}' '{script}' '{out}'", alert_at=alert_at)
    with flags.outlets([], [], 2, set, pytest.fail) as outlets:
        for onset in (1.0, 2.0, 3.0):
            for each in ("began", "event"):
                for offer in outlets:
                    offer(Message(each, onset, onset + 1 if each == "event" else None, "dog; rm -rf $HOME", 0.75))
    lines = [json.loads(line.replace("'", '"')) for line in out.read_text().splitlines()]
    assert [line[:2] for line in lines] == [["dog; rm -rf $HOME", "1.0"], ["dog; rm -rf $HOME", "2.0"]]
    assert lines[0][2] == ("2.0" if kind == "event" else "")


@pytest.mark.parametrize("flags", [{"exec": ""}, {"exec": "a 'b"}, {"webhook": "ftp://host"}])
def test_invalid_alerts_are_refused_before_the_work(flags):
    with pytest.raises(ConfigError, match="was expected"):
        AlertFlags(**flags).deliveries()
