"""Certificates, which `audit verify` compares a trail with."""

import json

import click

from vault.common.text import printable
from vault.core.trail.evidence import Evidence
from vault.core.trail.findings import Finding
from vault.features.exposure import certificate
from vault.service.commands.audit.files import EvidenceFile
from vault.toolkit.cli import parameters


class CertificateFile(EvidenceFile):
    """A certificate of who knows which value."""

    name = "certificate"
    options = (
        click.option(
            "--certificate",
            type=parameters.TEXT_FILE,
            help="Compare with the output of `exposure --certificate`.",
        ),
    )
    has_claims = True

    def read(self, evidence: Evidence) -> list[Finding]:
        """Add its heads to *evidence*. Its question is in the result: it could be another one."""
        self.claims = found = certificate.read(self.file.read(), evidence.keys)
        self.facts = {"question": found.question}
        self.notes = [f"The certificate answers: {printable(json.dumps(found.question))}"]
        return list(evidence.add_certified(found.heads, found.signer))
