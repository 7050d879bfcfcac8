"""Groups of commands that load a command when it is asked for."""

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Any

import click
from click.shell_completion import CompletionItem

from vault.common import feature
from vault.common.errors import ExtraMissingError

_NONE: Mapping[str, str] = {}


class LazyGroup(click.Group):
    """A group that loads a command when it is asked for: loading all of them takes half a second."""

    def __init__(
        self,
        *arguments: Any,
        functions: Mapping[str, str | Callable[[], str]],
        summaries: Mapping[str, str] = _NONE,
        synonyms: Mapping[str, str] = _NONE,
        words: str | None = None,
        **options: Any,
    ) -> None:
        """Take the path of each command's function, such as `vault.clients.dev.command:dev`, by command.

        In place of a path, there can be a function that chooses one when the command is asked for.
        *summaries* are the first sentences of help texts: a list of commands loads only those without one.
        *synonyms* are words that people may use in place of a command; the error for each names the command.
        *words* are those of the group, empty for the top level; features add commands to them.
        """
        super().__init__(*arguments, **options)
        added = {} if words is None else dict(feature.commands(words))
        self._functions = {**functions, **{name: one.function for name, one in added.items()}}
        self._summaries = {**summaries, **{name: one.summary for name, one in added.items() if one.summary}}
        self._synonyms = synonyms

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, whether loaded or not."""
        return sorted({*super().list_commands(ctx), *self._functions})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, if there is one.

        While a shell completes words, there is none that needs packages which are not installed.

        Raises:
            ExtraMissingError: The command needs packages that are not installed.
        """
        if cmd_name in self._functions:
            path = self._functions[cmd_name]
            try:
                self.add_command(resolve_name(path if isinstance(path, str) else path()))
            except ModuleNotFoundError as error:
                if ctx.resilient_parsing:
                    # A shell completes words: the command is not run.
                    return None
                raise ExtraMissingError(f"{ctx.command_path} {cmd_name}", package=error.name or "") from None
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that *args* name, and the arguments after it."""
        if args[0] in self._synonyms:
            command = f"{ctx.command_path} {self._synonyms[args[0]]}"
            raise click.UsageError(f"No such command '{args[0]}': use `{command}`.", ctx)
        try:
            return super().resolve_command(ctx, args)
        except click.NoSuchCommand as error:
            # click suggests loaded commands only.
            names = self.list_commands(ctx)
            raise click.NoSuchCommand(error.command_name, possibilities=names, ctx=ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands to *formatter*."""
        click.Group(commands=self._outlines(ctx)).format_commands(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the commands and options that begin with *incomplete*."""
        commands = [
            CompletionItem(name, help=command.get_short_help_str())
            for name, command in self._outlines(ctx).items()
            if name.startswith(incomplete) and not command.hidden
        ]
        return commands + click.Command.shell_complete(self, ctx, incomplete)

    def _outlines(self, ctx: click.Context) -> dict[str, click.Command]:
        """Return a command with the summary of each command, by name; those without one are loaded."""
        outlines: dict[str, click.Command] = {}
        for name in self.list_commands(ctx):
            summary = self._summaries.get(name)
            command = click.Command(name, help=summary) if summary else self.get_command(ctx, name)
            if command is not None:
                outlines[name] = command
        return outlines
