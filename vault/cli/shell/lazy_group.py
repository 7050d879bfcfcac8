"""Groups of commands that load a command when it is asked for."""

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any

import click

_NONE: Mapping[str, str] = {}


class LazyGroup(click.Group):
    """A group that loads a command when it is asked for: loading all of them takes half a second."""

    def __init__(
        self,
        *arguments: Any,
        functions: Mapping[str, str | Callable[[], str]],
        synonyms: Mapping[str, str] = _NONE,
        **options: Any,
    ) -> None:
        """Take the path of each command's function, such as `vault.cli.dev.command:dev`, by command.

        In place of a path, there can be a function that chooses one when the command is asked for.
        *synonyms* are words that people may use in place of a command; the error for each names the command.
        """
        super().__init__(*arguments, **options)
        self._functions = functions
        self._synonyms = synonyms

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, whether loaded or not."""
        return sorted({*super().list_commands(ctx), *self._functions})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, if there is one."""
        # For a name that no command has, click looks for a similar one among loaded commands.
        others = () if cmd_name in self.commands else self._functions
        for name in [cmd_name] if cmd_name in self._functions else others:
            path = self._functions[name]
            self.add_command(resolve_name(path if isinstance(path, str) else path()))
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that *args* name, and the arguments after it."""
        if args[0] in self._synonyms:
            command = f"{ctx.command_path} {self._synonyms[args[0]]}"
            raise click.UsageError(f"No such command '{args[0]}': use `{command}`.", ctx)
        return super().resolve_command(ctx, args)
