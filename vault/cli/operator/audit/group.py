"""The commands `audit …`: the audit trail, by the master key or by a token."""

import click

from vault.cli.shell.credentials import by_credential
from vault.cli.shell.lazy_group import LazyGroup

#: The function of each command, after its module.
_FUNCTIONS = {
    "checkpoint": "vault.cli.operator.audit.trail:checkpoint",
    "disable": "vault.cli.operator.audit.trail:disable",
    "enable": "vault.cli.operator.audit.trail:enable",
    "export": "vault.cli.operator.audit.trail:export",
    "public-key": "vault.cli.operator.audit.trail:public_key",
    "query": by_credential("vault.cli.operator.audit.trail:query", "vault.cli.user.audit:query"),
    "tail": by_credential("vault.cli.operator.audit.trail:tail", "vault.cli.user.audit:tail"),
    "verify": "vault.cli.operator.audit.verify:verify",
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
