"""The edited trail, and the results of its readers."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.features import tables
from tests.support.rotation import Stored, connected, new_key
from tests.support.statements import Statement
from tests.support.streams import close_all, list_closed
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt, attempts_finished
from vault.core.crypto import Keyring, MasterKey
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents import AuditEntry
from vault.core.documents.audit import record_of
from vault.core.trail import reader, receipts
from vault.core.trail.claims import Claims
from vault.core.trail.evidence import Evidence
from vault.core.trail.findings import Finding, Gravity
from vault.core.trail.follow import TrailFollower
from vault.core.trail.reader import Filter
from vault.core.trail.receipts import Receipts
from vault.core.trail.streams import checkpoint, signing_keys
from vault.core.trail.streams.stream import StoredEntry
from vault.core.trail.verifier import Verifier, verify_records
from vault.core.trail.writer import AuditTrail

#: The collections that verifying reads.
COLLECTIONS = ("audit_logs", "audit_keys")

#: What can prove that the end of a stream was removed.
STATEMENTS: tuple[Statement, ...] = tuple(tables("STATEMENT"))
EVIDENCE = ("checkpoint", "receipts", *(one.name for one in STATEMENTS))

#: The name of the secret of all entries.
_NAME = "billing/db"

#: The number of commits that fail.
_FAILED = 99

Documents = Mapping[str, list[dict[str, Any]]]

#: The entries that each way of reading shows, in order.
Shown = dict[str, list[str]]


@dataclass
class Victim:
    """A trail in MongoDB, to edit and restore."""

    stored: Stored
    keyring: Keyring
    #: The documents of `COLLECTIONS`, now and at earlier times.
    documents: Documents
    earlier: list[Documents]
    #: A checkpoint that was kept.
    checkpoint: str
    #: Receipts of the newest signed entry of each stream.
    receipts: list[str]
    #: The signed statements of features, by name.
    statements: Mapping[str, str]
    #: The unsigned entries of failed commits: verification notes them, and vouches for none.
    leftovers: frozenset[str]
    shown: Shown

    @contextmanager
    def edited(self) -> Iterator[Stored]:
        """Restore the database after the block has edited it."""
        try:
            yield self.stored
        finally:
            for name in COLLECTIONS:
                self.stored[name].drop()
                self.stored[name].insert_many(self.documents[name])
            self.stored.audit_logs.create_index([("stream", 1), ("seq", 1)], unique=True)

    def verify(self, evidence: str) -> list[Finding]:
        """Return the findings of verification now, by one kind of `EVIDENCE`."""
        keys = signing_keys.trusted(self.keyring)
        known, claims, forged = Evidence(keys), list[Claims](), list[Finding]()
        if evidence == "checkpoint":
            forged = [*known.add(checkpoint.read(self.checkpoint, keys))]
        elif evidence == "receipts":
            held = Receipts(keys)
            forged = [one for line, text in enumerate(self.receipts, 1) for one in held.add(text, line)]
            claims = [held]
        else:
            [statement] = [one for one in STATEMENTS if one.name == evidence]
            found = statement.read(self.statements[evidence], keys)
            forged, claims = [*known.add_heads(found.heads)], [found]
        verifier = Verifier.of_database(
            self.keyring,
            heads=known.heads,
            hashes=known.hashes,
            retired=known.newest.retired if known.newest else {},
            claims=claims,
        )
        return forged + list(verify_records(verifier, reader.export(Filter())))

    def reads(self) -> Shown:
        """Return the current results of readers, without the leftovers."""
        count = self.stored.audit_logs.count_documents({}) + 1
        attempt = Attempt(action=Action.AUDIT_QUERY)
        page = reader.page(Filter(), cursor=None, limit=count, attempt=attempt).entries
        shown = {
            "export": reader.export(Filter()),
            "export by name": reader.export(Filter(secret_name=_NAME)),
            "query": page,
            "tail": TrailFollower(count).poll(),
            # Leftovers are about this secret only.
            **{
                one.name: [row for row in one.rows("anonymous") if row["secret_id"] != f"secret-{_FAILED}"]
                for one in STATEMENTS
            },
        }
        texts_of = {name: [_text(record) for record in records] for name, records in shown.items()}
        return {
            name: [text for text in texts if text not in self.leftovers] for name, texts in texts_of.items()
        }


def _text(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, default=str)


@contextmanager
def victim(uri: str, stored: Stored) -> Iterator[Victim]:
    """Write a trail with several streams, failed commits, a rotation and a retirement."""
    with attempts_finished.connected_to(lambda *_: False), connected(uri):
        old, new = new_key(), new_key()
        earlier = []
        for keys in ((old,), (new, old), (new,)):
            _write(*keys)
            if len(keys) == 2 or not earlier:
                _compact(*keys)
            earlier.append(_documents(stored))
        keyring = Keyring(new)
        made = checkpoint.make(keyring)
        assert made["retired"]
        kept = json.dumps(made)
        held = list(_receipts(earlier[-1]["audit_logs"], (SigningKey(old), SigningKey(new))))
        stated = {one.name: json.dumps(one.make("192.0.2.1", keyring)) for one in STATEMENTS}
        found = Victim(stored, keyring, earlier[-1], earlier[:-1], kept, held, stated, frozenset(), {})
        found.leftovers = frozenset(_leftovers(found.documents["audit_logs"]))
        found.shown = found.reads()
        for before in map(found.verify, EVIDENCE):
            assert {finding.kind for finding in before} == {Gravity.NOTE}, before
        assert len(found.leftovers) == 9
        yield found


def _documents(stored: Stored) -> Documents:
    return {name: list(stored[name].find()) for name in COLLECTIONS}


def _receipts(documents: list[dict[str, Any]], keys: Iterable[SigningKey]) -> Iterator[str]:
    by_signer = {key.public.signer: key for key in keys}
    newest = {one["stream"]: one for one in sorted(documents, key=_seq) if "signature" in one}
    for document in newest.values():
        yield receipts.make({"request_id": "", **document}, by_signer[document["signer"]])


def _leftovers(documents: list[dict[str, Any]]) -> Iterator[str]:
    signed = {one["stream"]: one["seq"] for one in sorted(documents, key=_seq) if "signature" in one}
    for document in documents:
        if document["seq"] > signed.get(document["stream"], -1):
            yield _text(record_of(document))


def _seq(document: Mapping[str, Any]) -> int:
    return int(document["seq"])


def _write(*keys: MasterKey) -> None:
    """Write as two processes with these keys, in commits of several sizes, some of which fail."""
    workers = [AuditTrail(Keyring(keys[0], keys[1:])) for _ in range(2)]
    for number, size in enumerate((1, 3, 2, 5, 1, 4, 2)):
        for worker in workers:
            # The first attempt makes the initial writes.
            worker._on_finish([(Attempt(action=Action.FETCH), Status.SUCCESS)])
            worker._commit([(_entry(number, seq), ()) for seq in range(size)])
    for worker, kept in zip(workers, (2, 3), strict=True):
        _fail(worker, kept=kept)
        worker._commit([(_entry(100, seq), ()) for seq in range(2)])
    # A failing commit, and then the first one of the stream that took over.
    _fail(workers[0], kept=0)
    _fail(workers[0], kept=1)
    for worker in workers:
        worker._on_finish([(Attempt(action=Action.TRAIL_RESUMED), Status.SUCCESS)])
        worker.retire_signers()
        worker.disconnect()


def _compact(*keys: MasterKey) -> None:
    """Close the streams of the processes that did not, and list closed streams in several summaries."""
    keyring = Keyring(keys[0], keys[1:])
    close_all(keyring)
    assert list_closed(keyring, rows=2) >= 4


def _fail(worker: AuditTrail, *, kept: int) -> None:
    """Fail a commit of three entries after *kept* of them are stored."""

    def store(entries: list[StoredEntry], _effect: object) -> None:
        if kept:
            real(entries[:kept])
        raise KeyboardInterrupt

    real = AuditEntry.store
    with pytest.MonkeyPatch.context() as broken, suppress(KeyboardInterrupt):
        broken.setattr(AuditEntry, "store", store)
        worker._commit([(_entry(_FAILED, seq), ()) for seq in range(3)])


def _entry(commit: int, number: int) -> StoredEntry:
    return {
        "action": "fetch" if number % 2 else "create",
        "status": "success",
        "principal": "anonymous",
        "secret_id": f"secret-{commit}",
        "ip": "192.0.2.1",
        "ua": "curl/8",
        "request_id": f"r-{commit}-{number}",
        "details": {"name": _NAME, "number": number, "nested": {"a": [commit]}},
    }
