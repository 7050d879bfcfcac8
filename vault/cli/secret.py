"""The commands `secret …`: secrets of the service, for people and programs that have a token."""

import click

from vault.cli.lazy_group import LazyGroup

#: The function of each command, after its module.
_FUNCTIONS = {
    "delete": "vault.cli.secret_records:delete",
    "describe": "vault.cli.secret_records:describe",
    "export": "vault.cli.secret_files:export",
    "get": "vault.cli.secret_values:get",
    "import": "vault.cli.secret_files:import_file",
    "list": "vault.cli.secret_records:list_secrets",
    "purge": "vault.cli.secret_records:purge",
    "restore": "vault.cli.secret_records:restore",
    "run": "vault.cli.secret_run:run",
    "set": "vault.cli.secret_values:set_value",
}


@click.group(cls=LazyGroup, functions=_FUNCTIONS)
def secret() -> None:
    """Store, read and use secrets with a token.

    These commands talk to the service at VAULT_URL. They need neither the master key nor MongoDB. See
    docs/cli.md.
    """
