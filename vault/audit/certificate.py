"""Certificates: signed statements of who knows which value, which verify against an export.

A certificate has a question, the exposures that answer it, and the newest entry of each stream at that time:
its heads. The entries up to the heads prove these exposures and no others. The signature covers everything
else, in canonical JSON, after a purpose.

The trail does not say which secret has a name, which principal a token is, and which version is current: the
service looks these up, and states them in the question.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from vault.audit import checkpoint, exposure, reader
from vault.audit.entry import Entry
from vault.audit.evaluation import MISSING, Document, matches, value
from vault.audit.findings import NO_PLACE, Finding, Kind
from vault.audit.knowledge import (
    ANY_UNWRAP,
    KNOWN,
    SAFE,
    SUCCESS,
    UNWRAPPED,
    WRAPPED,
    Key,
    Question,
    conditions,
    exposure_of,
    fields,
    joined,
    key_of,
)
from vault.audit.reader import SETTLED_SECONDS, Filter
from vault.audit.retirement import Heads
from vault.audit.summary import is_type, shown_name
from vault.audit.verifier import Verifier, read_on, retention_start, verify_records
from vault.core.attempt import Action, Attempt
from vault.core.errors import InvalidCheckpointError, VaultError
from vault.core.principal import OPERATOR
from vault.core.text import unique_names
from vault.core.timestamps import moment
from vault.crypto import Keyring, encoding
from vault.crypto.audit_chain import SigningKey, VerifyingKey
from vault.documents.audit import Record
from vault.documents.guard import storage_errors
from vault.documents.token import StoredTokenKey, Token

_FORMAT = 1
_PURPOSE = b"secret-manager exposure certificate "

_BY_DROPPED = "the certificate's master key was dropped: its holder could have made it at any time"

#: The members of a query that the trail does not show.
_LOOKED_UP = frozenset({"secret_ids", "principals", "current"})

#: The secrets that one query looks up.
_SECRETS_AT_ONCE = 1_000

#: The fields of an exposure, as an expression for each, of an entry and of the one that it unwraps.
_ROW = {name: made for name, made in fields("$entry.", "$origin.").items() if made is not False}

#: Entries of new versions.
_WRITTEN = KNOWN | {"action": {"$in": [Action.CREATE.value, Action.UPDATE.value]}}

#: Entries of wrapped replies have the accessor of their token.
_LINKED = {"$expr": is_type("$details.accessor", "string")}
_REWRAPPED = ANY_UNWRAP | _LINKED


class Answer:
    """The exposures that the entries up to some heads prove.

    Memory grows with the number of exposures, and of wrapped replies.
    """

    def __init__(self, query: Mapping[str, Any], heads: Mapping[str, Record]) -> None:
        """Prepare for the *query* of a certificate and its *heads*, by stream."""
        self._query = query
        self.heads = heads
        since = query.get("since")
        question = Question(
            address=query.get("address"),
            service=query.get("service"),
            node=query.get("node"),
            since=since and datetime.fromisoformat(since),
        )
        ids, who = query["secret_ids"], conditions(question, query["principals"])
        which: dict[str, Any] = {} if ids is None else {"secret_id": {"$in": ids}}
        self._known = KNOWN | which | who
        self._wrapped = WRAPPED | which | _LINKED
        self._unwrapped = UNWRAPPED | who
        #: The conditions for entries with the name in the question, if each secret that had it counts.
        self._named: dict[str, Any] | None = None
        if query["stale"] and "name" in (named := query.get("secret", {})):
            self._named = {f"details.{name}": text for name, text in named.items()}
            self._named |= {"$expr": is_type("$secret_id", "string"), "$nor": [which]}
        #: By stream, the first entry that the query or the heads should cover, and do not.
        self.left_out: dict[str, Entry] = {}
        #: By secret, the entry of the first version above the one that the query states as current.
        self._above: dict[str, Entry] = {}
        self._rows: dict[Key, Mapping[str, Any]] = {}
        #: The entries of replies that were wrapped, by the accessor of their token, and of those unwrapped.
        self._origins: dict[str, list[Document]] = defaultdict(list)
        self._unwraps: list[Document] = []

    def meet(self, entry: Entry, record: Record) -> None:
        """Take the next *entry* of a trail, which is decoded from *record*."""
        head = self.heads.get(entry.stream)
        if head is None or entry.seq > head["seq"]:
            if entry.is_signed and entry.ts < self._query["complete_until"]:
                self.left_out.setdefault(entry.stream, entry)
            return
        if entry.flaw or not matches(SUCCESS, record):
            return
        document = {**record, "ts": _time(entry.ts)}
        if self._named and matches(self._named, document):
            self.left_out.setdefault(entry.stream, entry)
        self._compare_version(entry, document)
        if matches(self._known, document):
            self._take(document, document)
        elif matches(self._unwrapped, document):
            self._unwraps.append(document)
        elif matches(self._wrapped, document) or matches(_REWRAPPED, document):
            self._origins[value("$details.accessor", document)].append(document)

    def exposures(self, current: Mapping[str, int | None]) -> dict[Key, dict[str, Any]]:
        """Return the exposures by their keys, in order, in the form of a certificate.

        *current* has the current versions of secrets by their IDs.
        """
        # Of a secret without a stated version, all are: then a certificate that leaves some out is found.
        is_current = {key: current.get(key[0], key[1]) == key[1] for key in self._rows}
        return {
            key: _shown(self._rows[key], is_current[key])
            for key in sorted(self._rows)
            if self._query["stale"] or is_current[key]
        }

    @property
    def secret_ids(self) -> set[str]:
        """The IDs of all secrets with an exposure, also one that is not current."""
        return {secret_id for secret_id, _, _ in self._rows}

    def unproved(
        self, _kept_since: str, _bounds: Mapping[str, Heads], _dropped: Collection[str], /
    ) -> Iterator[Finding]:
        """Follow the wrapped replies, after the last entry, and yield a finding for what is left out."""
        for document in self._unwraps:
            for origin in self._origins_of(document):
                self._take(document, origin)
        for entry in self.left_out.values():
            yield entry.finding("should be covered by the certificate, and is not", Kind.LOOK)
        for entry in self._above.values():
            yield entry.finding("wrote a version above the one that the certificate calls current", Kind.LOOK)

    def _compare_version(self, entry: Entry, document: Document) -> None:
        if not matches(_WRITTEN, document):
            return
        found = _fields(document, document)
        stated = self._query.get("current", {}).get(str(found["secret_id"]))
        if stated is not None and any(version > stated for version in _versions(found)):
            self._above.setdefault(found["secret_id"], entry)

    def _take(self, entry: Document, origin: Document) -> None:
        found = _fields(entry, origin)
        for version in _versions(found):
            row = _grouped(found, version)
            key = key_of(row)
            self._rows[key] = joined(self._rows[key], row) if key in self._rows else row

    def _origins_of(self, unwrap: Document) -> Iterator[Document]:
        """Yield the entries of the reply that *unwrap* took: it can have been wrapped several times."""
        seen, pending = set[str](), [unwrap]
        while pending:
            accessor = str(pending.pop().get("secret_id"))
            if accessor not in seen:
                seen.add(accessor)
                for document in self._origins.get(accessor, ()):
                    if document["action"] == Action.FETCH:
                        yield document
                    else:
                        pending.append(document)


class Certificate(Answer):
    """A genuine certificate, to compare with a trail."""

    def __init__(self, made: Mapping[str, Any], signer: str) -> None:
        """Prepare for the trail to compare with, of the certificate *made*, which *signer* signed."""
        self.signer = signer
        #: What was asked, without what the trail does not say.
        self.question = {name: one for name, one in made["query"].items() if name not in _LOOKED_UP}
        super().__init__(made["query"], {head["stream"]: head for head in made["heads"]})
        self._listed = {
            (one["secret_id"], one["version"], one["principal"]): one for one in made["exposures"]
        }
        #: The numbers of exposures by outcome. The `stale` ones are not listed, as the query says.
        self.counts = {"proved": 0, "unproved": 0, "past_retention": 0, "stale": 0}

    def unproved(
        self, kept_since: str, bounds: Mapping[str, Heads], dropped: Collection[str], /
    ) -> Iterator[Finding]:
        """Yield, after the last entry, a finding for each exposure that the trail contradicts.

        Entries from before *kept_since* may be missing, and with them what they prove.
        """
        yield from super().unproved(kept_since, bounds, dropped)
        if self.signer in bounds or self.signer in dropped:
            yield Finding(*NO_PLACE, _BY_DROPPED, Kind.LOOK)
        found = self.exposures(self._query["current"])
        self.counts["stale"] = len(self._rows) - len(found)
        for key in sorted(self._listed.keys() | found.keys()):
            listed = self._listed.get(key)
            if listed == found.get(key):
                self.counts["proved"] += 1
            elif listed and (listed["first_at"] < kept_since or (kept_since and "unwrap" in listed["how"])):
                # An unwrap proves nothing without the entry of the wrapped reply, which is older.
                self.counts["past_retention"] += 1
            else:
                self.counts["unproved"] += 1
                yield _difference(listed, found.get(key))


def _difference(listed: Mapping[str, Any] | None, found: Mapping[str, Any] | None) -> Finding:
    one = listed or found or {}
    last, name = one["last_entry"], shown_name(one["secret_id"], one["name"], one["namespace"])
    about = f"{one['principal']} knows version {one['version']} of {name}"
    if listed is None:
        text = f"proves that {about}: the certificate does not list it"
    elif found is None:
        text = f"does not prove that {about}: the certificate lists it"
    else:
        text = f"proves otherwise than the certificate that {about}"
    return Finding(last["stream"], last["seq"], text, is_gap=found is None)


def make(
    question: Question, keyring: Keyring, *, retention_days: int, progress: Callable[[int], None]
) -> dict[str, Any]:
    """Return the certificate that answers *question*, after the whole trail is verified.

    *progress* is called with 1 after each entry. MongoDB may remove entries that are *retention_days* old; 0
    if they are permanent.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
        VaultError: The trail is not what the service wrote, which is put on record, or changed meanwhile.
    """
    began = datetime.now(UTC)
    with storage_errors():
        query = _query(question, began, keyring)
    answer = Answer(query, {head["stream"]: head for head in checkpoint.heads(keyring)})
    verifier = Verifier.of_database(
        keyring,
        kept_since=lambda: retention_start(retention_days, datetime.now(UTC)),
        heads=answer.heads,
        retention_days=retention_days,
        claims=[answer],
    )
    records = reader.counted(reader.export(Filter()), progress)
    findings = verify_records(verifier, records, partial(read_on, began=began))
    is_tampered = any(one.tampering for one in findings)
    if is_tampered:
        reader.record(Attempt(action=Action.AUDIT_TAMPERING, principal=OPERATOR))
    # What is left out was hidden for a moment, or the clocks differ.
    if is_tampered or answer.left_out:
        raise VaultError(
            "the trail is not what the service wrote, or was hidden in part",
            hint="run `secret-manager audit verify`; see docs/runbook.md",
        )
    with storage_errors():
        query["current"] = _current(answer.secret_ids.union(query["secret_ids"] or ()), began)
    return _signed(query, answer, keyring)


def read(text: str, keys: Mapping[str, VerifyingKey]) -> Certificate:
    """Return the certificate in *text*.

    Raises:
        InvalidCheckpointError: *text* is not a certificate, or none of *keys* signed it.
    """
    try:
        made = json.loads(text, object_pairs_hook=unique_names)
        signature, signer = made.pop("signature"), made["public_key"]
        signed = _PURPOSE + encoding.canonical(made)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
        raise InvalidCheckpointError("this is not a certificate") from None
    found = (key for key in keys.values() if key.pem() == signer and key.verifies(signature, signed))
    if (key := next(found, None)) is None:
        raise InvalidCheckpointError("the certificate is not signed by a key that is known")
    if made["format"] != _FORMAT:
        raise InvalidCheckpointError("the certificate is of a later release")
    return Certificate(made, key.signer)


def _signed(query: Mapping[str, Any], answer: Answer, keyring: Keyring) -> dict[str, Any]:
    key = SigningKey(keyring.primary)
    made = {
        "format": _FORMAT,
        "query": query,
        "exposures": list(answer.exposures(query["current"]).values()),
        "heads": list(answer.heads.values()),
        "public_key": key.public.pem(),
    }
    return {**made, "signature": key.sign(_PURPOSE + encoding.canonical(made))}


def _query(question: Question, now: datetime, keyring: Keyring) -> dict[str, Any]:
    """Return *question* with what the trail does not say, as of *now*."""
    secret: dict[str, Any] | None = None
    ids: list[str] | None = None
    if question.is_about_secret:
        owner = {"name": question.secret_name, "namespace": question.namespace}
        secret = owner if question.secret_id is None else {"secret_id": question.secret_id}
        ids = sorted(_ids(question))
        if not (ids or question.stale):
            # Anyone who can write to MongoDB can hide it.
            raise VaultError("no secret has this name", hint="add --stale for those that had it")
    given = {
        "secret": secret,
        **{name: getattr(question, name) for name in ("principal", "token", "address", "service", "node")},
        "since": question.since and moment(question.since),
    }
    return {
        **{name: one for name, one in given.items() if one is not None},
        "stale": question.stale,
        "complete_until": moment(now - timedelta(seconds=SETTLED_SECONDS)),
        "secret_ids": ids,
        "principals": exposure.principals_of(question, partial(_require_genuine, keyring)),
    }


def _require_genuine(keyring: Keyring, token: Token) -> None:
    """Require that *token* is as the service wrote it: an attacker may have given it another name."""
    stored = StoredTokenKey.stored()
    if stored is None or not token.is_genuine(stored.decrypt(keyring)):
        raise VaultError("the record of the token with this accessor was altered")


def _ids(question: Question) -> set[str]:
    found, is_last, after = set[str](), False, ""
    while not is_last:
        ids, is_last = exposure.ids_of(question, after)
        found |= set(ids)
        after = max(ids, default="")
    return found


def _current(ids: Iterable[str], began: datetime) -> dict[str, int | None]:
    """Return the current version of each secret that was not written since the scan *began*.

    Of a version that was written meanwhile, reads can be beyond the heads.
    """
    ordered, found = sorted(ids), dict[str, int | None]()
    for at in range(0, len(ordered), _SECRETS_AT_ONCE):
        found |= exposure.current_versions(ordered[at : at + _SECRETS_AT_ONCE], before=began)
    return found


def _fields(entry: Document, origin: Document) -> dict[str, Any]:
    pair = {"entry": entry, "origin": origin}
    return {name: value(made, pair) for name, made in _ROW.items()}


def _versions(found: dict[str, Any]) -> list[int]:
    """Return the versions in the fields that were *found*; none if these are not what the service writes."""
    versions = found["version"] if isinstance(found["version"], list) else [found["version"]]
    is_about_secret = isinstance(found["secret_id"], str)
    return [one for one in versions if is_about_secret and matches(SAFE, found | {"version": one})]


def _grouped(found: Mapping[str, Any], version: int) -> dict[str, Any]:
    """Return the row of one entry, in the form that MongoDB groups to."""
    newest = ("ts", "stream", "seq", "hash", "name", "namespace")
    return {
        "_id": {"secret_id": found["secret_id"], "version": version, "principal": found["principal"]},
        "how": {found["how"]},
        "services": {found["service"]} - {MISSING},
        "first_at": found["ts"],
        "last": {name: found[name] for name in newest},
        "count": 1,
    }


def _shown(row: Mapping[str, Any], is_current: bool) -> dict[str, Any]:
    """Return an exposure in the form of replies."""
    one = asdict(exposure_of(row, is_current))
    return one | {name: moment(one[name]) for name in ("first_at", "last_at")}


def _time(text: str) -> datetime | str:
    """Return the time of an entry; *text* itself if the service writes no such."""
    try:
        time = datetime.fromisoformat(text)
        return time if moment(time) == text else text
    except (OverflowError, ValueError):
        return text
