"""`earmark completion`: completion of commands and flags in a shell."""

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print the completion script of a shell.

    Args:
        shell: The shell that runs the script.
    """
    from earmark.cli import app
    from earmark.cli.screen import say

    say(app.generate_completion(shell=shell))
