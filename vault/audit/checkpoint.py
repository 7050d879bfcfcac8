"""Checkpoints: the signed heads of all streams, kept outside the database.

Functions that read MongoDB raise `StorageUnavailableError`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from vault.audit import retirement, signing_keys
from vault.audit.collection import collection, records
from vault.core.errors import InvalidCheckpointError
from vault.core.timestamps import moment
from vault.crypto import Keyring, audit_chain, encoding
from vault.crypto.audit_chain import SigningKey, VerifyingKey
from vault.documents.audit import Record
from vault.documents.base import is_text
from vault.documents.guard import storage_errors

#: The number of entries at the end of a stream that are read in one round trip.
_BATCH_SIZE = 10


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A genuine checkpoint."""

    #: The time when it was made.
    time: datetime
    #: The heads by stream: `stream`, `seq`, `ts` and `hash`.
    heads: Mapping[str, Record]
    #: The signing keys retired by then, each with that time: they sign nothing beyond these heads.
    retired: Mapping[str, str]


def make(keyring: Keyring) -> dict[str, Any]:
    """Return the signed heads of all streams, to keep out of reach of anyone with write access to MongoDB."""
    now = moment(datetime.now(UTC))
    return signed({"ts": now, "heads": heads(keyring), "retired": retired(keyring)}, keyring)


def signed(made: Mapping[str, Any], keyring: Keyring) -> dict[str, Any]:
    """Return *made* with the signature of the primary key."""
    key = SigningKey(keyring.primary)
    return {**made, "signer": key.public.signer, "signature": key.sign(audit_chain.canonical(made))}


def heads(keyring: Keyring) -> list[Record]:
    """Return the place, time and hash of the newest entry of each stream that is genuine and signed."""
    names = ("stream", "seq", "ts", "hash")
    return [{name: record[name] for name in names} for record in newest_signed(keyring)]


def newest_signed(keyring: Keyring) -> Iterator[Record]:
    """Yield the newest entry of each stream that is genuine and signed."""
    keys, bounds = signing_keys.trusted(keyring), signing_keys.retired(keyring)
    with storage_errors():
        streams = collection().distinct("stream")
    # The service writes only strings; in a query, anything else could be a condition.
    for stream in (stream for stream in streams if is_text(stream)):
        query = {"stream": stream, "signature": {"$exists": True}}
        # A small batch: the first is almost always genuine, and a worker may do this while it serves.
        signed = records(query, ("seq", -1), batch_size=_BATCH_SIZE)
        genuine = (
            record
            for record in signed
            if _is_genuine(record, keys)
            and retirement.is_within(bounds, record["signer"], (record["stream"], record["seq"]))
        )
        yield from islice(genuine, 1)


def retired(keyring: Keyring) -> list[str]:
    """Return the retired signing keys."""
    return sorted(signing_keys.retired(keyring))


def read(text: str, keys: Mapping[str, VerifyingKey]) -> Checkpoint:
    """Return the checkpoint in *text*.

    Raises:
        InvalidCheckpointError: *text* is not a checkpoint, or none of *keys* signed it.
    """
    try:
        return parsed(json.loads(text), keys)
    except (RecursionError, ValueError):
        raise InvalidCheckpointError("this is not a checkpoint") from None


def parsed(made: Any, keys: Mapping[str, VerifyingKey]) -> Checkpoint:
    """Return the checkpoint that *made*, decoded JSON, represents. Errors as `read`."""
    try:
        if not is_signed(made, keys):
            raise InvalidCheckpointError("the checkpoint is not signed by a key that is known")
        heads = {head["stream"]: head for head in made["heads"]}
        return Checkpoint(datetime.fromisoformat(made["ts"]), heads, retired_by(made))
    except (KeyError, TypeError, ValueError):
        raise InvalidCheckpointError("this is not a checkpoint") from None


def digest(made: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the whole checkpoint *made*, in hexadecimal."""
    return hashlib.sha256(encoding.canonical(made)).hexdigest()


def retired_by(made: Mapping[str, Any]) -> dict[str, str]:
    """Return the retired keys of the checkpoint *made*, each with the time of the checkpoint."""
    return dict.fromkeys(made.get("retired", ()), made["ts"])


def is_signed(made: Mapping[str, Any], keys: Mapping[str, VerifyingKey]) -> bool:
    """Return whether one of *keys* signed *made*."""
    key = keys.get(made["signer"])
    return key is not None and key.verifies(made["signature"], audit_chain.canonical(made))


def _is_genuine(record: Record, keys: Mapping[str, VerifyingKey]) -> bool:
    """Return whether one of *keys* signed this entry with this content."""
    try:
        key = keys[record["signer"]]
        is_signed = key.verifies(record["signature"], record["hash"].encode())
        return is_signed and record["hash"] == audit_chain.digest(record)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
