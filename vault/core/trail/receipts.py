"""Receipts: signed lines about entries, which clients keep as evidence outside the service.

A receipt is `v1.PAYLOAD.SIGNATURE`. The payload is an object in canonical JSON, and the signature is the
signing key's of `v1.PAYLOAD`; both are in base64url without padding. Nothing else that this key signs begins
like that: hashes of entries are hexadecimal, and all others begin with `{` or `secret-manager`.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from weakref import finalize

from vault.common.errors import VaultError
from vault.common.outcomes import Status
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.crypto import encoding
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey
from vault.core.documents.audit import Record
from vault.core.trail.claims import Proof
from vault.core.trail.findings import NO_PLACE, Finding, Gravity
from vault.core.trail.streams import retirement
from vault.core.trail.streams.entry import Entry
from vault.core.trail.streams.stream import StoredEntry

# Only a verification keeps receipts: a worker loads no SQLite.
if TYPE_CHECKING:
    import sqlite3

#: More characters than the service's longest receipt has.
MAX_LENGTH = 8_192

_VERSION = "v1."
_FORM = re.compile(r"(v1\.([A-Za-z0-9_-]+))\.([A-Za-z0-9_-]{86})")

#: Actions whose entries have no version if it is the secret's first one.
_WITH_VALUE = {Action.CREATE, Action.FETCH, Action.UPDATE}

#: Random bytes in an entry with a receipt.
_NONCE_BYTES = 16

_MALFORMED = "line {} of the receipts has no receipt, or only a part of one: it proves nothing"
_FORGED = "the receipt in line {} is forged, or signed by a key that is not known: it proves nothing"
_MISSING = "is missing: the receipt in line {} proves it"
_REPLACED = "is not the entry of the receipt in line {}"
_UNLESS = ", unless the receipt was forged with its master key, which had been dropped"


def is_due(attempt: Attempt, status: Status) -> bool:
    """Return whether the caller gets a receipt. A refusal has none: its entry can say more than the reply."""
    return attempt.receipt is not None and status is Status.SUCCESS


def nonce(attempt: Attempt, status: Status) -> dict[str, str]:
    """Return the additional details of an entry with a receipt.

    Without them, the hash in the receipt would confirm guesses of what else is in the entry.
    """
    return {"receipt": token_hex(_NONCE_BYTES)} if is_due(attempt, status) else {}


def make(entry: StoredEntry, key: SigningKey) -> str:
    """Return the receipt of an *entry* that is stored, signed by *key*."""
    details = entry.get("details", {})
    payload = {
        "stream": entry["stream"],
        "seq": entry["seq"],
        "hash": entry["hash"],
        "at": moment(entry["ts"]),
        "action": entry["action"],
        # Without a credential, the ID is the right to change the secret.
        "secret_id": None if "request" in details else entry.get("secret_id"),
        "name": details.get("name"),
        "version": details.get("version", 1 if entry["action"] in _WITH_VALUE else None),
        "principal": entry["principal"],
        "request_id": entry["request_id"],
    }
    signed = _VERSION + _encode(encoding.canonical(payload))
    return f"{signed}.{_encode(bytes.fromhex(key.sign(signed.encode())))}"


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass(frozen=True, slots=True)
class Receipt:
    """A genuine receipt."""

    #: The payload: the place, hash, time and action of the entry, and its subject.
    payload: Mapping[str, Any]
    #: The key that signed it.
    signer: str


def read(text: str, keys: Mapping[str, VerifyingKey]) -> Receipt | None:
    """Return the receipt in *text*; None if none of *keys*, by signer, signed it.

    Raises:
        ValueError: *text* does not have the form of a receipt.
    """
    found = _FORM.fullmatch(text)
    if not found:
        raise ValueError("not a receipt")
    signed, payload, signature = found.groups()
    raw = _decode(signature)
    # The last digit has more bits than the signature: there must be no other form of a receipt.
    known = keys if _encode(raw) == signature else {}
    for signer, key in known.items():
        if key.verifies(raw.hex(), signed.encode()):
            # Only the service's own JSON is decoded.
            return Receipt(json.loads(_decode(payload)), signer)
    return None


_CREATE = (
    "CREATE TABLE receipts (stream, seq, hash, at, action, signer, line, is_replaced, "
    "PRIMARY KEY (stream, seq, hash)) WITHOUT ROWID"
)
#: The same receipt again changes nothing.
_INSERT = "INSERT OR IGNORE INTO receipts VALUES (?, ?, ?, ?, ?, ?, ?, 0)"
_SELECT = "SELECT hash FROM receipts WHERE stream = ? AND seq = ?"
_DELETE = "DELETE FROM receipts WHERE stream = ? AND seq = ? AND hash = ?"
_UPDATE = "UPDATE receipts SET is_replaced = 1 WHERE stream = ? AND seq = ?"
_SELECT_ALL = "SELECT stream, seq, at, action, signer, line, is_replaced FROM receipts ORDER BY line"


class Receipts:
    """Receipts to compare with a trail, in a temporary file: memory does not grow with their number.

    Methods raise `VaultError` if the file cannot be written.
    """

    def __init__(self, keys: Mapping[str, VerifyingKey]) -> None:
        """Prepare for receipts that *keys* signed, by signer."""
        self._keys = keys
        import sqlite3

        # The file has no name, and SQLite makes it only once its cache of 2 MB is full.
        self._stored = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        finalize(self, self._stored.close)
        self._execute("PRAGMA journal_mode = OFF")
        self._execute(_CREATE)
        #: The highest number, by stream.
        self._last: dict[str, int] = {}
        #: The numbers of receipts by outcome; each receipt counts once, and each line that is forged or none.
        self.counts = {"proved": 0, "unproved": 0, "past_retention": 0, "forged": 0, "malformed": 0}

    def add(self, text: str, line: int) -> Iterator[Finding]:
        """Take the receipt in *line* of a file; yield a finding if it is forged, or none."""
        try:
            receipt = read(text, self._keys)
        except ValueError:
            self.counts["malformed"] += 1
            yield Finding(*NO_PLACE, _MALFORMED.format(line), Gravity.LOOK)
            return
        if receipt is None:
            self.counts["forged"] += 1
            yield Finding(*NO_PLACE, _FORGED.format(line), Gravity.LOOK)
            return
        names = ("stream", "seq", "hash", "at", "action")
        stream, seq, *others = (receipt.payload[name] for name in names)
        row = (stream, seq, *others, receipt.signer, line)
        self._execute(_INSERT, row)
        self._last[stream] = max(seq, self._last.get(stream, seq))

    def meet(self, entry: Entry, _record: Record) -> None:
        """Compare the receipts of this place with *entry*, which is in the trail."""
        if entry.seq > self._last.get(entry.stream, -1):
            return
        for (digest,) in self._execute(_SELECT, entry.place).fetchall():
            # The hash of an entry with a flaw is not that of its content.
            if digest == entry.hash and not entry.flaw:
                self._execute(_DELETE, (*entry.place, digest))
                self.counts["proved"] += 1
            else:
                self._execute(_UPDATE, entry.place)

    def unproved(self, proof: Proof) -> Iterator[Finding]:
        """Yield, after the last entry, a finding for each receipt without its entry.

        Of keys that are retired or dropped, a receipt beyond the last genuine signatures can be forged.
        """
        for stream, seq, at, action, signer, line, is_replaced in self._execute(_SELECT_ALL):
            if at < proof.kept_since and not is_replaced:
                self.counts["past_retention"] += 1
                continue
            self.counts["unproved"] += 1
            text = (_REPLACED if is_replaced else _MISSING).format(line)
            kind = Gravity.TAMPERING
            is_unretired = signer in proof.dropped and signer not in proof.bounds
            if is_unretired or not retirement.is_within(proof.bounds, signer, (stream, seq)):
                text, kind = text + _UNLESS, Gravity.LOOK
            yield Finding(stream, seq, text, kind, is_gap=not is_replaced, ts=at, action=action)

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> "sqlite3.Cursor":
        import sqlite3

        try:
            return self._stored.execute(statement, values)
        except sqlite3.OperationalError:
            raise VaultError(
                "the temporary file for receipts cannot be written",
                hint="set SQLITE_TMPDIR to a folder with free space",
            ) from None
