"""The command `completion`: completion of commands and options in shells."""

import click
from click.shell_completion import get_completion_class

from vault.cli.shell.output import Output, output_options

#: click answers the shell under this name.
_VARIABLE = "_SECRET_MANAGER_COMPLETE"


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@output_options
@click.pass_context
def completion(ctx: click.Context, output: Output, shell: str) -> None:
    """Print a script that completes commands in a shell.

    For bash, add this to ~/.bashrc: source <(secret-manager completion bash)
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click has all of the choices"  # noqa: S101 - for mypy
    script = kind(ctx.find_root().command, {}, "secret-manager", _VARIABLE)
    # Not `source()`: for bash, it runs a bash to see its version.
    text = script.source_template % script.source_vars()
    output.result({"shell": shell, "script": text}, text)
