"""The command `completion`: completion of commands and options in shells."""

import click
from click.shell_completion import get_completion_class

from vault.toolkit.cli.output import Output, output_options

#: click answers the shell under this name.
_VARIABLE = "_SECRET_MANAGER_COMPLETE"


def script(shell: str) -> str:
    """Return the script that completes `secret-manager` in a *shell*."""
    kind = get_completion_class(shell)
    assert kind is not None, "click has all of them"  # noqa: S101 - for mypy
    # The script does not depend on the command. Not `source()`: for bash, it runs a bash to see its version.
    own = kind(click.Command(None), {}, "secret-manager", _VARIABLE)
    return own.source_template % own.source_vars()


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@output_options
def completion(output: Output, shell: str) -> None:
    """Print a script that completes commands in a shell.

    For bash, add this to ~/.bashrc: source <(secret-manager completion bash)
    """
    text = script(shell)
    output.result({"shell": shell, "script": text}, text)
