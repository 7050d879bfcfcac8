"""The command `auth disable`: let the service run without authentication again."""

import click

from vault.core.attempt import Action
from vault.core.keys import authentication
from vault.service.commands.context import operator_attempt
from vault.toolkit.cli.output import Output, confirm, output_options


@click.group
def auth() -> None:
    """Disable authentication for this database."""


@auth.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_options
def disable(output: Output, yes: bool) -> None:
    """Disable authentication for this database.

    Afterwards, processes with AUTH_ENABLED=false serve it: anyone who can reach them and knows an ID can read
    that secret. Stop the service first. The next start with AUTH_ENABLED=true enables authentication again.
    Needs the master key in use.
    """
    confirm("Let anyone who knows an ID read that secret?", yes, "not disabled")
    with operator_attempt(output, Action.AUTH_DISABLED) as (_, attempt):
        was_enabled = authentication.disable(attempt)
    verdict = "is disabled" if was_enabled else "was not enabled"
    output.result(
        {"auth_enabled": False},
        f"Authentication {verdict} for this database. Processes with AUTH_ENABLED=false serve it.",
    )
