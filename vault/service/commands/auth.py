"""The command `auth disable`: let the service run without authentication again."""

import click

from vault.common.errors import AuthInUseError
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.documents import registry
from vault.core.documents.guard import storage_errors
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
        was_enabled = disable_auth(attempt)
    verdict = "is disabled" if was_enabled else "was not enabled"
    output.result(
        {"auth_enabled": False},
        f"Authentication {verdict} for this database. Processes with AUTH_ENABLED=false serve it.",
    )


def disable_auth(attempt: Attempt) -> bool:
    """Record *attempt*, and let processes without authentication serve; return False if they may already.

    Raises:
        AuditUnavailableError: The entry could not be written; nothing was changed.
        AuthInUseError: A process with authentication runs or has started meanwhile; nothing was changed.
        StorageUnavailableError: MongoDB is unavailable.
    """
    with storage_errors():
        if not registry.requires_auth():
            return False
        # First: a process records itself before it claims.
        claim = registry.auth_claim()
        if registry.runs_with_auth():
            raise AuthInUseError
    attempt.finish(Status.SUCCESS)
    with storage_errors():
        if not registry.disable_auth(claim):
            raise AuthInUseError
    return True
