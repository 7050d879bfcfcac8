"""The commands `audit …`: the audit trail, by the master key or by a token."""

import click

from vault.toolkit.cli.credentials import by_credential
from vault.toolkit.cli.lazy_group import LazyGroup

#: The function of each command, after its module.
_FUNCTIONS = {
    "checkpoint": "vault.service.commands.audit.trail:checkpoint",
    "disable": "vault.service.commands.audit.trail:disable",
    "enable": "vault.service.commands.audit.trail:enable",
    "export": "vault.service.commands.audit.trail:export",
    "public-key": "vault.service.commands.audit.trail:public_key",
    "query": by_credential("vault.service.commands.audit.trail:query", "vault.clients.people.audit:query"),
    "tail": by_credential("vault.service.commands.audit.trail:tail", "vault.clients.people.audit:tail"),
    "verify": "vault.service.commands.audit.verify:verify",
}

_SUMMARIES = {
    "checkpoint": "Print the heads of all streams, signed.",
    "disable": "Disable the audit trail of this database.",
    "enable": "Enable the audit trail of this database.",
    "export": "Print entries as JSON lines.",
    "public-key": "Print the public keys that verify the trail, as PEM.",
    "query": "Show entries, oldest first.",
    "tail": "Show the newest entries, and follow the trail.",
    "verify": "Verify the trail's hash chains and signatures.",
}


@click.group(cls=LazyGroup, functions=_FUNCTIONS, summaries=_SUMMARIES, words="audit")
def audit() -> None:
    """Inspect, export and verify the audit trail."""
