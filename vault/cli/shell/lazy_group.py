"""Groups of commands that load a command when it is asked for."""

from collections.abc import Mapping
from pkgutil import resolve_name
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that loads a command when it is asked for: loading all of them takes half a second."""

    def __init__(self, *arguments: Any, functions: Mapping[str, str], **options: Any) -> None:
        """Take the path of each command's function, such as `vault.cli.dev.command:dev`, by command."""
        super().__init__(*arguments, **options)
        self._functions = functions

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, whether loaded or not."""
        return sorted({*super().list_commands(ctx), *self._functions})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, if there is one."""
        # For a name that no command has, click looks for a similar one among loaded commands.
        for name in [cmd_name] if cmd_name in self._functions else self._functions:
            self.add_command(resolve_name(self._functions[name]))
        return super().get_command(ctx, cmd_name)
