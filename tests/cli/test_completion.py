import pytest

from earmark import cli


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_knows_the_commands(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "earmark" in script and "timeline" in script


def test_an_unknown_shell_is_wrong_usage(capsys):
    assert cli.main(["completion", "abacus"]) == 2
    assert "abacus" in capsys.readouterr().err
