import sys

import pytest

from earmark import cli


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_knows_the_commands(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "earmark" in script and "timeline" in script


def test_a_missing_extra_leaves_the_name_of_its_command(capsys, monkeypatch):
    """Also after the script the command says which extra it needs."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "earmark.cli.serve", raising=False)
    monkeypatch.setattr(cli, "app", cli._app())
    assert cli.main(["completion", "bash"], cli.app) == 0
    script = capsys.readouterr().out
    assert "serve" in script and "--max-gap" in script and "--cors" not in script
    assert cli.main(["serve"], cli.app) == 1
    assert "earmark[serve]" in capsys.readouterr().err


def test_an_unknown_shell_is_wrong_usage(capsys):
    assert cli.main(["completion", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err
