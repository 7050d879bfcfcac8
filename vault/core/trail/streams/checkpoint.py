"""Checkpoints: signed heads that cover all streams, kept outside the database.

Functions that read MongoDB raise `StorageUnavailableError`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vault.common.errors import InvalidCheckpointError
from vault.common.timestamps import moment
from vault.core.crypto import Keyring, audit_chain, encoding
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey
from vault.core.documents.audit import Record
from vault.core.trail.streams import ends, signing_keys
from vault.core.trail.streams.summaries import Listed


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
    """Return the place, time and hash of each entry of `newest_signed`."""
    names = ("stream", "seq", "ts", "hash")
    return [{name: record[name] for name in names} for record in newest_signed(keyring)]


def newest_signed(keyring: Keyring, listed: Listed | None = None) -> Iterator[Record]:
    """Yield the newest genuine and signed entry of each stream, except for streams that a summary lists.

    One of the entries covers that summary. It is older than the search for the ends. *listed* has the
    summaries, if they have just been read.
    """
    rows = (listed or Listed(keyring)).rows
    keys, bounds = signing_keys.trusted(keyring), signing_keys.retired(keyring)
    return ends.newest_signed(ends.highest(except_for=rows), keys, bounds)


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
        if made["signer"] not in keys:
            raise InvalidCheckpointError("the checkpoint is not signed by a key that is known")
        if not is_signed(made, keys):
            raise InvalidCheckpointError("the checkpoint was altered: its signature is of another content")
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
