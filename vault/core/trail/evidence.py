"""The heads against which a trail is verified: of checkpoints, of certificates, and of the service's log."""

import json
from collections.abc import Iterable, Iterator, Mapping

from vault.common.errors import InvalidCheckpointError
from vault.core.crypto.audit_chain import VerifyingKey
from vault.core.documents.audit import Record
from vault.core.documents.base import is_text
from vault.core.trail.findings import Finding
from vault.core.trail.streams.checkpoint import Checkpoint
from vault.core.trail.streams.retirement import Place


class Evidence:
    """The heads of several checkpoints. Memory grows with the number of different heads."""

    def __init__(self, keys: Mapping[str, VerifyingKey]) -> None:
        """Take checkpoints that one of *keys* signed."""
        #: By signer.
        self.keys = keys
        #: The newest checkpoint.
        self.newest: Checkpoint | None = None
        #: The newest head of each stream, and the hashes of all of them by place.
        self.heads: dict[str, Record] = {}
        self.hashes: dict[Place, str] = {}
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
                is_signed = self.keys[head["signer"]].verifies(head["signature"], head["hash"].encode())
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
