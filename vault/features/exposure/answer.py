"""The answer of a certificate: the exposures and uses that the entries of a trail prove."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from vault.common.timestamps import moment
from vault.core.attempt import Action
from vault.core.documents.audit import Record
from vault.core.trail.claims import Proof
from vault.core.trail.expressions import is_type
from vault.core.trail.findings import Finding, Gravity
from vault.core.trail.streams.entry import Entry
from vault.core.trail.streams.retirement import Head
from vault.core.trail.values import SAFE, SUCCESS, fields
from vault.features.exposure.evaluation import MISSING, Document, matches, value
from vault.features.exposure.knowledge import (
    ANY_UNWRAP,
    BROKER,
    KNOWN,
    UNWRAPPED,
    USED,
    WRAPPED,
    Exposure,
    Key,
    Question,
    Use,
    broker_fields,
    conditions,
    exposure_of,
    joined,
    key_of,
    use_fields,
    use_of,
)


def _expressions(made: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in made.items() if one is not False}


#: The fields of an exposure, as an expression for each, of an entry and of the one that it unwraps; and of
#: the broker and the user in the entry of a use.
_ROW = _expressions(fields("$entry.", "$origin."))
_BROKER_ROW = _expressions(broker_fields("$entry."))
_USE_ROW = _expressions(use_fields("$entry."))

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
        self.query = query
        self.heads = heads
        since = query.get("since")
        question = Question(
            address=query.get("address"),
            service=query.get("service"),
            node=query.get("node"),
            since=since and datetime.fromisoformat(since),
        )
        ids, who = query["secret_ids"], conditions(question, query["principals"])
        self._used = USED | who
        self._held = USED | conditions(question, query["principals"], BROKER)
        which: dict[str, Any] = {} if ids is None else {"secret_id": {"$in": ids}}
        self._which = which
        self._known = KNOWN | who
        self._wrapped = WRAPPED | _LINKED
        self._unwrapped = UNWRAPPED | who
        #: The conditions for entries of further secrets that had the name in the question.
        self._named: dict[str, Any] | None = None
        if "name" in (named := query.get("secret", {})):
            self._named = {f"details.{name}": text for name, text in named.items()}
            self._named |= {"$expr": is_type("$secret_id", "string"), "$nor": [which]}
        self._found = _Found()
        #: Of each stream without a head, what it adds if the heads cover it through summaries; and the first
        #: entry that they should cover.
        self._apart: dict[str, _Found] = {}
        self._uncovered: dict[str, Entry] = {}

    def meet(self, entry: Entry, record: Record) -> None:
        """Take the next *entry* of a trail, which is decoded from *record*."""
        head = self.heads.get(entry.stream)
        if head is None or entry.seq > head["seq"]:
            if entry.is_signed and entry.ts < self.query["complete_until"]:
                kept = self._uncovered if head is None else self.left_out
                kept.setdefault(entry.stream, entry)
            if head:
                return
        if not entry.flaw and matches(SUCCESS, record):
            found = self._found if head else self._apart.get(entry.stream, _Found())
            self._take(entry, {**record, "ts": _time(entry.ts)}, found)
            if found.has_any and not head:
                self._apart[entry.stream] = found

    def _take(self, entry: Entry, document: Document, found: "_Found") -> None:
        is_further = self._named is not None and matches(self._named, document)
        if is_further and self.query["stale"]:
            found.left_out.setdefault(entry.stream, entry)
        self._compare_version(entry, document, found)
        # Entries of further secrets count as stale ones, unless the question includes these secrets.
        is_asked = matches(self._which, document) or (is_further and not self.query["stale"])
        if is_asked:
            self._take_use(document, found)
        if is_asked and matches(self._known, document):
            found.add(_fields(document, document))
        elif matches(self._unwrapped, document):
            found.unwraps.append(document)
        elif (is_asked and matches(self._wrapped, document)) or matches(_REWRAPPED, document):
            found.origins[value("$details.accessor", document)].append(document)

    def _take_use(self, document: Document, found: "_Found") -> None:
        if matches(self._held, document):
            found.add(_fields(document, document, _BROKER_ROW))
        if matches(self._used, document):
            found.add_use(_fields(document, document, _USE_ROW))

    def exposures(self, current: Mapping[str, int | None]) -> dict[Key, dict[str, Any]]:
        """Return the exposures by their keys, in order, in the form of a certificate.

        *current* has the current versions of secrets by their IDs.
        """
        is_current = {key: self._is_current(key, current) for key in self.rows}
        return {
            key: _shown(exposure_of(self.rows[key], is_current[key]))
            for key in sorted(self.rows)
            if self.query["stale"] or is_current[key]
        }

    def uses(self, current: Mapping[str, int | None]) -> dict[tuple[Key, str], dict[str, Any]]:
        """Return the uses by their keys and hosts, in order, as `exposures`."""
        is_current = {key: self._is_current(key, current) for key, _ in self._found.uses}
        return {
            (key, host): _shown(use_of(key, host, self._found.uses[key, host], is_current[key]))
            for key, host in sorted(self._found.uses)
            if self.query["stale"] or is_current[key]
        }

    def _is_current(self, key: Key, current: Mapping[str, int | None]) -> bool:
        # Of a secret without a stated version, all are: then a certificate that leaves some out is found.
        secret_id, version, _ = key
        return self._is_asked(secret_id) and current.get(secret_id, version) == version

    @property
    def rows(self) -> Mapping[Key, Mapping[str, Any]]:
        """The exposures as `vault.features.exposure.exposure` groups entries, by key."""
        return self._found.rows

    @property
    def row_count(self) -> int:
        """The number of all exposures and uses, also of those that are not current."""
        return len(self._found.rows) + len(self._found.uses)

    @property
    def secret_ids(self) -> set[str]:
        """The IDs of all secrets in question with an exposure or a use, also one that is not current."""
        keys = (*self.rows, *(key for key, _ in self._found.uses))
        return {secret_id for secret_id, _, _ in keys if self._is_asked(secret_id)}

    def _is_asked(self, secret_id: str) -> bool:
        return self.query["secret_ids"] is None or secret_id in self.query["secret_ids"]

    @property
    def left_out(self) -> dict[str, Entry]:
        """By stream, the first entry that the query or the heads should cover, and do not."""
        return self._found.left_out

    def unproved(self, proof: Proof, /) -> Iterator[Finding]:
        """Complete the answer, after the last entry, and yield a finding for what is left out."""
        self._add_covered(proof)
        for document in self._found.unwraps:
            for origin in self._found.origins_of(document):
                self._found.add(_fields(document, origin))
        for entry in self.left_out.values():
            yield entry.finding("should be covered by the certificate, and is not", Gravity.LOOK)
        for entry in self._found.above.values():
            yield entry.finding(
                "wrote a version above the one that the certificate calls current", Gravity.LOOK
            )

    def _add_covered(self, proof: Proof) -> None:
        """Add the streams that the heads cover through summaries."""
        heads = {name: Head(head["seq"], head["ts"], head["hash"]) for name, head in self.heads.items()}
        covered = proof.covered(heads)
        for stream, found in self._apart.items():
            if stream in covered:
                self._found.join(found)
        for stream, entry in self._uncovered.items():
            # A summary and the streams in it expire at about the same time.
            if stream not in covered and entry.ts >= proof.kept_since:
                self.left_out.setdefault(stream, entry)

    def _compare_version(self, entry: Entry, document: Document, found: "_Found") -> None:
        if not matches(_WRITTEN, document):
            return
        stored = _fields(document, document)
        stated = self.query.get("current", {}).get(str(stored["secret_id"]))
        if stated is not None and any(version > stated for version in _versions(stored)):
            found.above.setdefault(stored["secret_id"], entry)


class _Found:
    """The part of an answer that the entries of some streams prove."""

    def __init__(self) -> None:
        #: By stream, the first entry that the query should cover, and does not.
        self.left_out: dict[str, Entry] = {}
        #: By secret, the entry of the first version above the one that the query states as current.
        self.above: dict[str, Entry] = {}
        self.rows: dict[Key, Mapping[str, Any]] = {}
        #: By the key of the principal, and the host.
        self.uses: dict[tuple[Key, str], Mapping[str, Any]] = {}
        #: The entries of replies that were wrapped, by the accessor of their token, and of those unwrapped.
        self.origins: dict[str, list[Document]] = defaultdict(list)
        self.unwraps: list[Document] = []

    @property
    def has_any(self) -> bool:
        """True if there is anything."""
        found = self.rows, self.uses, self.unwraps, self.origins, self.left_out, self.above
        return any(found)

    def join(self, other: "_Found") -> None:
        """Add what *other* has."""
        self.left_out |= other.left_out
        self.above |= other.above
        for row in other.rows.values():
            self._add_row(row)
        for (_, host), row in other.uses.items():
            self._add_use(host, row)
        for accessor, documents in other.origins.items():
            self.origins[accessor] += documents
        self.unwraps += other.unwraps

    def add(self, found: dict[str, Any]) -> None:
        """Add the exposures of the fields that were *found*."""
        for version in _versions(found):
            self._add_row(_grouped(found, version))

    def add_use(self, found: dict[str, Any]) -> None:
        """Add the uses of the fields that were *found*."""
        for version in _versions(found):
            self._add_use(found["host"], _grouped(found, version))

    def _add_use(self, host: str, row: Mapping[str, Any]) -> None:
        key = key_of(row), host
        self.uses[key] = joined(self.uses[key], row) if key in self.uses else row

    def _add_row(self, row: Mapping[str, Any]) -> None:
        key = key_of(row)
        self.rows[key] = joined(self.rows[key], row) if key in self.rows else row

    def origins_of(self, unwrap: Document) -> Iterator[Document]:
        """Yield the entries of the reply that *unwrap* took: it can have been wrapped several times."""
        seen, pending = set[str](), [unwrap]
        while pending:
            accessor = str(pending.pop().get("secret_id"))
            if accessor not in seen:
                seen.add(accessor)
                for document in self.origins.get(accessor, ()):
                    if document["action"] == Action.FETCH:
                        yield document
                    else:
                        pending.append(document)


def _fields(entry: Document, origin: Document, row: Mapping[str, Any] = _ROW) -> dict[str, Any]:
    """Return the fields of *row* that *entry* proves, by its *origin* if it unwraps one."""
    pair = {"entry": entry, "origin": origin}
    return {name: value(made, pair) for name, made in row.items()}


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


def _shown(found: Exposure | Use) -> dict[str, Any]:
    """Return an exposure, or uses, in the form of replies."""
    one = asdict(found)
    return one | {name: moment(one[name]) for name in ("first_at", "last_at")}


def _time(text: str) -> datetime | str:
    """Return the time of an entry; *text* itself if the service writes no such."""
    try:
        time = datetime.fromisoformat(text)
        return time if moment(time) == text else text
    except (OverflowError, ValueError):
        return text
