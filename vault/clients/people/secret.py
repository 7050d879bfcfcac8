"""The commands `secret …`: secrets of the service, for people and programs that have a token."""

import click

from vault.toolkit.cli.lazy_group import LazyGroup

#: The function of each command, after its module.
_FUNCTIONS = {
    "delete": "vault.clients.people.secret_records:delete",
    "describe": "vault.clients.people.secret_records:describe",
    "diff": "vault.clients.people.secret_versions:diff",
    "edit": "vault.clients.people.secret_edit:edit",
    "export": "vault.clients.people.secret_files:export",
    "generate": "vault.clients.people.secret_generate:generate",
    "get": "vault.clients.people.secret_values:get",
    "history": "vault.clients.people.secret_versions:history",
    "import": "vault.clients.people.secret_files:import_file",
    "list": "vault.clients.people.secret_records:list_secrets",
    "purge": "vault.clients.people.secret_records:purge",
    "restore": "vault.clients.people.secret_records:restore",
    "run": "vault.clients.people.secret_run:run",
    "set": "vault.clients.people.secret_values:set_value",
}

#: The commands for words of other programs.
_SYNONYMS = {"create": "set", "put": "set", "rm": "delete", "show": "get"}


@click.group(cls=LazyGroup, functions=_FUNCTIONS, synonyms=_SYNONYMS, words="secret")
def secret() -> None:
    """Store, read and use secrets with a token.

    These commands talk to the service at VAULT_URL. They need neither the master key nor MongoDB. See
    docs/cli.md.
    """
