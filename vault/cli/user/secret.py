"""The commands `secret …`: secrets of the service, for people and programs that have a token."""

import click

from vault.cli.shell.lazy_group import LazyGroup

#: The function of each command, after its module.
_FUNCTIONS = {
    "delete": "vault.cli.user.secret_records:delete",
    "describe": "vault.cli.user.secret_records:describe",
    "diff": "vault.cli.user.secret_versions:diff",
    "edit": "vault.cli.user.secret_edit:edit",
    "export": "vault.cli.user.secret_files:export",
    "generate": "vault.cli.user.secret_generate:generate",
    "get": "vault.cli.user.secret_values:get",
    "history": "vault.cli.user.secret_versions:history",
    "import": "vault.cli.user.secret_files:import_file",
    "list": "vault.cli.user.secret_records:list_secrets",
    "purge": "vault.cli.user.secret_records:purge",
    "restore": "vault.cli.user.secret_records:restore",
    "run": "vault.cli.user.secret_run:run",
    "set": "vault.cli.user.secret_values:set_value",
}

#: The commands for words of other programs.
_SYNONYMS = {"create": "set", "put": "set", "rm": "delete", "show": "get"}


@click.group(cls=LazyGroup, functions=_FUNCTIONS, synonyms=_SYNONYMS, words="secret")
def secret() -> None:
    """Store, read and use secrets with a token.

    These commands talk to the service at VAULT_URL. They need neither the master key nor MongoDB. See
    docs/cli.md.
    """
