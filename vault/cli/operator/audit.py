"""The commands `audit …`: the audit trail, by the master key or by a token."""

import click

from vault.cli.shell.credentials import by_credential
from vault.cli.shell.lazy_group import LazyGroup

#: The function of each command, after its module.
_FUNCTIONS = {
    "checkpoint": "vault.cli.operator.audit_trail:checkpoint",
    "compact": "vault.cli.operator.audit_trail:compact",
    "disable": "vault.cli.operator.audit_trail:disable",
    "enable": "vault.cli.operator.audit_trail:enable",
    "export": "vault.cli.operator.audit_trail:export",
    "public-key": "vault.cli.operator.audit_trail:public_key",
    "query": by_credential("vault.cli.operator.audit_trail:query", "vault.cli.user.audit:query"),
    "reconcile": "vault.cli.operator.audit_reconcile:reconcile",
    "report": "vault.cli.operator.report:report",
    "tail": by_credential("vault.cli.operator.audit_trail:tail", "vault.cli.user.audit:tail"),
    "verify": "vault.cli.operator.audit_verify:verify",
    "witness": "vault.cli.operator.audit_witness:witness",
}

_SUMMARIES = {
    "checkpoint": "Print the heads of all streams, signed.",
    "compact": "Close idle streams, and list closed ones in summaries.",
    "disable": "Disable the audit trail of this database.",
    "enable": "Enable the audit trail of this database.",
    "export": "Print entries as JSON lines.",
    "public-key": "Print the public keys that verify the trail, as PEM.",
    "query": "Show entries, oldest first.",
    "reconcile": "Compare custody's entries with the log of a provider.",
    "report": "Show who fetched what, and what needs attention.",
    "tail": "Show the newest entries, and follow the trail.",
    "verify": "Verify the trail's hash chains and signatures.",
    "witness": "Show a checkpoint to the witnesses, and print their answers.",
}


@click.group(cls=LazyGroup, functions=_FUNCTIONS, summaries=_SUMMARIES)
def audit() -> None:
    """Inspect, export and verify the audit trail."""
