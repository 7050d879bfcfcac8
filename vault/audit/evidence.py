"""The heads against which a trail is verified: of checkpoints, of certificates, and of the service's log."""

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography.x509 import Certificate

from vault.audit.findings import NO_PLACE, Finding
from vault.audit.streams import checkpoint
from vault.audit.streams.checkpoint import Checkpoint
from vault.audit.streams.retirement import Place
from vault.audit.witness import counter_signature
from vault.audit.witness.witness import time_stamps
from vault.core.errors import InvalidCheckpointError
from vault.core.text import unique_names
from vault.crypto import encoding
from vault.crypto.audit_chain import VerifyingKey
from vault.documents.audit import Record
from vault.documents.base import is_text

#: The clock of the service may be ahead of a witness's clock by this much.
_MAX_CLOCK_LEAD = timedelta(minutes=10)


class Evidence:
    """The heads of several checkpoints. Memory grows with the number of different heads."""

    def __init__(self, keys: Mapping[str, VerifyingKey]) -> None:
        """Take checkpoints that one of *keys* signed."""
        self._keys = keys
        #: The newest checkpoint.
        self.newest: Checkpoint | None = None
        #: The newest head of each stream, and the hashes of all of them by place.
        self.heads: dict[str, Record] = {}
        self.hashes: dict[Place, str] = {}
        #: The number of confirmed checkpoints, and the newest time at which one was confirmed, by witness.
        self.confirmed = 0
        self.last_confirmed: dict[str, datetime] = {}
        #: True if a counter-signature was verified by the key in it: then nothing proves whose it is.
        self.trusts_answers = False
        #: The number of streams with a head in the log.
        self.logged = 0

    def add(self, found: Checkpoint) -> Iterator[Finding]:
        """Take a checkpoint; yield a finding if it contradicts another one."""
        if self.newest is None or found.time > self.newest.time:
            self.newest = found
        yield from self.add_heads(found.heads)

    def add_certified(self, heads: Mapping[str, Record], signer: str) -> Iterator[Finding]:
        """Take the heads of a certificate after all checkpoints, as `add`.

        With a key that the newest checkpoint retired, its holder must not extend what the key signed.
        """
        if self.newest is None or signer not in self.newest.retired:
            yield from self.add_heads(heads)

    def add_heads(self, heads: Mapping[str, Record]) -> Iterator[Finding]:
        """Take the heads of a checkpoint or certificate, as `add`."""
        for stream, head in heads.items():
            place = stream, head["seq"]
            if self.hashes.setdefault(place, head["hash"]) != head["hash"]:
                yield Finding(*place, "differs between two genuine checkpoints")
            if stream not in self.heads or self.heads[stream]["seq"] < head["seq"]:
                self.heads[stream] = head

    def read_heads(self, lines: Iterable[str]) -> Iterator[Finding]:
        """Take the newest head of each stream in *lines*, after all checkpoints; yield findings as `add`.

        Lines are of the service's log, or entries of a second sink. Others are ignored, and so are unsigned
        entries: a later signature covers them.

        Raises:
            InvalidCheckpointError: No line has a head that a known key signed.
        """
        newest: dict[str, Record] = {}
        for line in lines:
            try:
                found = json.loads(line)
                head = found.get("head", found)
                stream, seq = head["stream"], head["seq"]
                is_signed = self._keys[head["signer"]].verifies(head["signature"], head["hash"].encode())
                is_newest = seq > newest.get(stream, {"seq": -1})["seq"]
                is_written = is_text(stream) and is_text(head["ts"]) and type(seq) is int
                if is_signed and is_newest and is_written:
                    newest[stream] = head
            except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
                continue
        if not newest:
            raise InvalidCheckpointError("no line has a head that is signed by a key that is known")
        self.logged = len(newest)
        for stream, head in newest.items():
            yield from self.add_certified({stream: head}, head["signer"])

    def read_witnessed(
        self,
        lines: Iterable[str],
        *,
        authorities: Sequence[Certificate],
        witness_keys: Mapping[str, VerifyingKey] | None,
    ) -> Iterator[Finding]:
        """Take the output of `audit witness`, or lines of the service's log that have it.

        *authorities* vouch for time stamps. Without *witness_keys*, each counter-signature is verified by the
        key in it.

        Raises:
            InvalidCheckpointError: A line has another form, or a checkpoint is not signed by a known key.
        """
        for number, line in enumerate(lines, 1):
            try:
                found = json.loads(line, object_pairs_hook=unique_names)
                found = found.get("witnessed", found)
                made, witness, answer = found["checkpoint"], str(found["witness"]), dict(found["answer"])
            except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
                raise InvalidCheckpointError(f"line {number} is not a witnessed checkpoint") from None
            if "time_stamp" in answer and not authorities:
                raise InvalidCheckpointError(f"line {number} has a time stamp", hint="add --tsa-ca")
            shown = checkpoint.parsed(made, self._keys)
            yield from self.add(shown)
            try:
                time = _confirmed_at(made, answer, authorities, witness_keys)
                _require_earlier(shown, time)
            except ValueError as error:
                text = f"line {number} of the witnessed checkpoints: {witness} does not confirm it: {error}"
                yield Finding(*NO_PLACE, text)
                continue
            self.confirmed += 1
            self.trusts_answers |= witness_keys is None and "time_stamp" not in answer
            self.last_confirmed[witness] = max(time, self.last_confirmed.get(witness, time))


def _require_earlier(shown: Checkpoint, time: datetime) -> None:
    """Raise ValueError if a checkpoint was *shown* before its own time: the retention counts back from it."""
    if shown.time - time > _MAX_CLOCK_LEAD:
        raise ValueError("its time is later than that of the answer")


def _confirmed_at(
    made: Mapping[str, Any],
    answer: Mapping[str, Any],
    authorities: Sequence[Certificate],
    witness_keys: Mapping[str, VerifyingKey] | None,
) -> datetime:
    """Return the time at which *answer* confirms that the checkpoint *made* existed.

    Raises:
        ValueError: It confirms nothing; the message says why.
    """
    if "time_stamp" in answer:
        reply = b64decode(str(answer["time_stamp"]), validate=True)
        time: datetime = time_stamps().verified_time(reply, encoding.canonical(made), authorities)
        return time
    if not counter_signature.verifies(answer, checkpoint.digest(made), witness_keys):
        raise ValueError("its counter-signature is invalid, or of a key that is not known")
    return counter_signature.confirmed_at(answer)
