"""`earmark completion`: completion of commands and flags in a shell."""

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the completion script of a shell.

    It completes only the names of commands whose extra is not installed.

    Args:
        shell: The shell that runs the script.
    """
    from earmark.cli import app
    from earmark.cli.flags import commands_without_their_extras
    from earmark.cli.screen import say

    with commands_without_their_extras():
        script = app.generate_completion(shell=shell)
    say(script)
