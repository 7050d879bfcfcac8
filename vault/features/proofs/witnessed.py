"""Checkpoints of other installations: this one remembers the newest of each, and refuses contradictions.

MongoDB keeps them with their counter-signatures, in `audit_keys`. They are not bound to this trail's keys:
anyone with write access to MongoDB can remove one, or put an earlier one back. The counter-signatures that
senders have, and the entries of the trail, remain.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import DuplicateKeyError

from vault.common.errors import OverloadedError
from vault.common.outcomes import Status
from vault.core.attempt import Attempt
from vault.core.crypto import Keyring
from vault.core.documents.audit import AuditKey
from vault.core.documents.base import is_text
from vault.core.documents.guard import storage_errors
from vault.core.trail.streams import checkpoint, signing_keys
from vault.core.trail.streams.retirement import Head, Heads
from vault.core.trail.streams.stream import NAME
from vault.core.trail.verifier import retention_start
from vault.features.proofs import counter_signature
from vault.features.proofs.errors import CheckpointContradictedError

#: The maximum number of attempts, while the same sender shows other checkpoints.
_MAX_ATTEMPTS = 3

#: The forms of a head's fields, except its stream.
_TIME, _HASH = map(re.compile, (r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z", "[0-9a-f]{64}"))
_MAX_SEQ = 2**31 - 1

_ALTERED = "What this installation was shown before was altered in its database: its operator has to look."


def heads_of(rows: object) -> dict[str, Head]:
    """Return the heads in a foreign checkpoint, by stream.

    Raises:
        ValueError: *rows* are not heads.
    """
    found: list[Any] = rows if isinstance(rows, list) else [rows]
    heads = {row["stream"]: Head(row["seq"], row["ts"], row["hash"]) for row in found if _is_head(row)}
    if len(heads) != len(found):
        raise ValueError("some are not heads, or of the same stream")
    return heads


def _is_head(row: object) -> bool:
    if not isinstance(row, dict) or row.keys() != {"stream", "seq", "ts", "hash"}:
        return False
    texts = {"stream": NAME, "ts": _TIME, "hash": _HASH}
    return all(is_text(row[name]) and form.fullmatch(row[name]) for name, form in texts.items()) and (
        type(row["seq"]) is int and 0 <= row["seq"] <= _MAX_SEQ
    )


class WitnessedCheckpoints:
    """The newest checkpoint of each sender."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def confirm(
        self, made: Mapping[str, Any], *, retention_days: int, closed: Sequence[Any], attempt: Attempt
    ) -> dict[str, Any]:
        """Store the checkpoint *made* of the attempt's principal, and return the counter-signature.

        *retention_days* is the sender's retention, 0 if entries are permanent: only streams past it may be
        missing. So may *closed* streams, with their last entries: the sender's trail has summaries of them.

        Raises:
            CheckpointContradictedError: It contradicts the one before; nothing was stored.
            OverloadedError: The same sender showed several at the same time.
            StorageUnavailableError, AuditUnavailableError: Show it again.
        """
        sender = attempt.principal.name
        heads, digest = heads_of(made["heads"]), checkpoint.digest(made)
        # Summaries have other hashes.
        ended = {stream: Head(head.seq, head.ts) for stream, head in heads_of(closed).items()}
        attempt.details |= {"digest": digest, "heads": len(heads)}
        kept_since = retention_start(retention_days, datetime.now(UTC))
        for _ in range(_MAX_ATTEMPTS):
            before = _stored(sender)
            try:
                self._require_consistent(before, sender, ended | heads, kept_since)
            except CheckpointContradictedError as error:
                attempt.details["reason"] = error.problem
                raise
            statement = counter_signature.make(sender, digest, self._keyring)
            if _replace(sender, before, {"checkpoint": json.dumps(made), "statement": statement}):
                attempt.finish(Status.SUCCESS)
                return statement
        raise OverloadedError

    def _require_consistent(
        self, before: Mapping[str, Any] | None, sender: str, heads: Heads, kept_since: str
    ) -> None:
        if before is None:
            return
        try:
            shown, statement = json.loads(before["checkpoint"]), before["statement"]
            earlier, digest = heads_of(shown["heads"]), checkpoint.digest(shown)
            is_ours = statement["sender"] == sender
        except (KeyError, RecursionError, TypeError, ValueError):
            raise CheckpointContradictedError(_ALTERED) from None
        if not is_ours or not counter_signature.verifies(
            statement, digest, signing_keys.trusted(self._keyring)
        ):
            raise CheckpointContradictedError(_ALTERED)
        for stream, head in earlier.items():
            if contradiction := _contradiction(head, heads.get(stream), kept_since):
                name = json.dumps(stream)
                raise CheckpointContradictedError(f"Of stream {name}, {contradiction}.")


def _contradiction(before: Head, now: Head | None, kept_since: str) -> str:
    """Return how the head of a stream *now* contradicts the one *before*; empty if it does not."""
    if now is None:
        # By this installation's clock: the sender's cannot excuse more.
        return "" if before.ts < kept_since else f"entry {before.seq} was shown before, and none is now"
    if now.seq < before.seq:
        return f"entry {before.seq} was shown before, and the newest is entry {now.seq} now"
    if now.seq == before.seq and now.hash not in (None, before.hash):
        return f"another entry {before.seq} was shown before"
    return ""


def _id(sender: str) -> str:
    return f"witnessed {sender}"


def _stored(sender: str) -> Mapping[str, Any] | None:
    with storage_errors():
        found = AuditKey.raw().find_one({"_id": _id(sender)})
    if found is None:
        return None
    stored = found.get("witnessed")
    return stored if isinstance(stored, dict) else {}


def _replace(sender: str, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> bool:
    """Store *now*; return False if another request has stored something since *before* was read."""
    with storage_errors():
        if before is None:
            try:
                AuditKey.raw().insert_one({"_id": _id(sender), "witnessed": now})
            except DuplicateKeyError:
                return False
            return True
        query = {"_id": _id(sender), "witnessed.statement.signature": before["statement"]["signature"]}
        return bool(AuditKey.raw().update_one(query, {"$set": {"witnessed": now}}).matched_count)
