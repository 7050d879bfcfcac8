"""The command `backup`, which is a group, too: `backup FILE` and `backup schedule`."""

from typing import Any

import click

from vault.features.backup.commands.files import backup as once
from vault.features.backup.commands.schedule import schedule


class _CommandAndGroup(click.Group):
    """A command that has further ones: the first argument is the name of one, or its own."""

    allow_extra_args = False
    allow_interspersed_args = True

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of the command that *args* name."""
        if further := self.commands.get(next(iter(args), "")):
            return further.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the arguments of the command itself."""
        return click.Command.collect_usage_pieces(self, ctx)


backup = _CommandAndGroup(
    "backup",
    commands={"schedule": schedule},
    params=once.params,
    callback=once.callback,
    help=once.help,
    invoke_without_command=True,
    no_args_is_help=False,
)
