"""Witnessed checkpoints, which `audit verify` compares a trail with."""

import json
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

import click
from cryptography.x509 import Certificate, load_pem_x509_certificates

from vault.common.errors import InvalidCheckpointError
from vault.common.text import printable, unique_names
from vault.common.timestamps import moment
from vault.core.crypto import encoding
from vault.core.crypto.audit_chain import VerifyingKey
from vault.core.trail.evidence import Evidence
from vault.core.trail.findings import NO_PLACE, Finding
from vault.core.trail.streams import checkpoint
from vault.core.trail.streams.checkpoint import Checkpoint
from vault.features.proofs import counter_signature
from vault.features.proofs.witness import time_stamps
from vault.service.commands.audit.files import EvidenceFile, keys_in
from vault.toolkit.cli import parameters

#: The clock of the service may be ahead of a witness's clock by this much.
_MAX_CLOCK_LEAD = timedelta(minutes=10)

_NO_KEY = "Nothing proves who counter-signed the checkpoints. Hint: add --witness-key"


class WitnessedFile(EvidenceFile):
    """The output of `audit witness`, or lines of the service's log that have it."""

    name = "witnesses"
    options = (
        click.option(
            "--witnesses", type=parameters.TEXT_FILE, help="Verify against the output of `audit witness`."
        ),
        click.option(
            "--tsa-ca",
            type=click.File("rb"),
            help="With --witnesses: the CA of the time stamps' authority, as PEM.",
        ),
        click.option(
            "--witness-key",
            type=click.File("rb"),
            help="With --witnesses: `audit public-key` of the other installation.",
        ),
    )

    #: The CAs that vouch for time stamps.
    authorities: Sequence[Certificate] = ()
    #: Those that verify counter-signatures. If None, the key in each does, and nothing proves whose it is.
    witness_keys: Mapping[str, VerifyingKey] | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self | None:
        """Return the file of --witnesses, with the authorities and keys of the other options."""
        tsa_ca, witness_key = given["tsa_ca"], given["witness_key"]
        file = super().of(given)
        if file is None:
            if tsa_ca or witness_key:
                raise click.UsageError("--tsa-ca and --witness-key need --witnesses.")
            return None
        try:
            file.authorities = load_pem_x509_certificates(tsa_ca.read()) if tsa_ca else ()
        except ValueError:
            raise click.UsageError("--tsa-ca does not hold certificates in PEM.") from None
        file.witness_keys = keys_in(witness_key.read(), "--witness-key") if witness_key else None
        return file

    def read(self, evidence: Evidence) -> list[Finding]:
        """Add the checkpoints to *evidence*; a finding is about one that is not confirmed, or contradicts."""
        findings: list[Finding] = []
        times: dict[str, datetime] = {}
        confirmed, trusts_answers = 0, False
        for number, line in enumerate(self.file, 1):
            try:
                found = json.loads(line, object_pairs_hook=unique_names)
                found = found.get("witnessed", found)
                made, witness, answer = found["checkpoint"], str(found["witness"]), dict(found["answer"])
            except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
                raise InvalidCheckpointError(f"line {number} is not a witnessed checkpoint") from None
            if "time_stamp" in answer and not self.authorities:
                raise InvalidCheckpointError(f"line {number} has a time stamp", hint="add --tsa-ca")
            shown = checkpoint.parsed(made, evidence.keys)
            findings += evidence.add(shown)
            try:
                time = self._confirmed_at(made, answer)
                _require_earlier(shown, time)
            except ValueError as error:
                text = f"line {number} of the witnessed checkpoints: {witness} does not confirm it: {error}"
                findings.append(Finding(*NO_PLACE, text))
                continue
            confirmed += 1
            trusts_answers |= self.witness_keys is None and "time_stamp" not in answer
            times[witness] = max(time, times.get(witness, time))
        self.facts = {"confirmed_checkpoints": confirmed}
        self.notes = [
            *(
                f"{printable(name)} has confirmed a checkpoint at {moment(time)}"
                for name, time in times.items()
            ),
            *([_NO_KEY] if trusts_answers else ()),
        ]
        return findings

    def _confirmed_at(self, made: Mapping[str, Any], answer: Mapping[str, Any]) -> datetime:
        """Return the time at which *answer* confirms that the checkpoint *made* existed.

        Raises:
            ValueError: It confirms nothing; the message says why.
        """
        if "time_stamp" in answer:
            reply = b64decode(str(answer["time_stamp"]), validate=True)
            time: datetime = time_stamps().verified_time(reply, encoding.canonical(made), self.authorities)
            return time
        if not counter_signature.verifies(answer, checkpoint.digest(made), self.witness_keys):
            raise ValueError("its counter-signature is invalid, or of a key that is not known")
        return counter_signature.confirmed_at(answer)


def _require_earlier(shown: Checkpoint, time: datetime) -> None:
    """Raise ValueError if a checkpoint was *shown* before its own time: the retention counts back from it."""
    if shown.time - time > _MAX_CLOCK_LEAD:
        raise ValueError("its time is later than that of the answer")
