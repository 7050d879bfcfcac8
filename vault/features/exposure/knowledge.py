"""Proofs by entries of the trail: which principal knows which version of which secret, and who uses it.

A value leaves the service only after its entry, and every entry names the version. So the entries prove who
knows what: a principal that fetched or unwrapped a version, or that wrote it. A broker gets a value for a
principal that only uses it.

The rules are MongoDB's conditions and expressions. Those of one entry are also evaluated here, by
`vault.features.exposure.evaluation`, for entries of an export.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vault.core.attempt import Action, Attempt
from vault.core.principal import DEFAULT_NAMESPACE
from vault.core.trail.expressions import UNREADABLE, text_at
from vault.core.trail.values import NO_VALUES, SUCCESS, fields

#: The maximum number of services in an exposure, whose names a driver chooses, and of hosts of a user.
MAX_SERVICES = MAX_HOSTS = 100

#: The ID of a secret, a version and a principal. Exposures are in this order.
Key = tuple[str, int, str]

_FETCH = Action.FETCH.value
_KNOWING = [_FETCH, Action.CREATE.value, Action.UPDATE.value]
#: Entries of all secrets that someone can know: a create can be past the retention, and all reads wrapped.
ABOUT_VALUES: dict[str, Any] = {**SUCCESS, "action": {"$in": [*_KNOWING, Action.USE.value]}}
#: Entries of those who know a value, or asked for a wrapped one.
KNOWN_OR_WRAPPED: dict[str, Any] = {**SUCCESS, "action": {"$in": _KNOWING}, "$nor": [*NO_VALUES]}
#: Entries that prove who knows a value. A wrapped one is known to those who unwrap it.
KNOWN = {**KNOWN_OR_WRAPPED, "$nor": [{"action": _FETCH, "details.wrapped": True}, *NO_VALUES]}
#: Entries of principals that use a value, which the broker holds.
USED = {**SUCCESS, "action": Action.USE.value}
#: Where these have the principal that holds the value.
BROKER = "details.via_broker"
WRAPPED = {
    **SUCCESS,
    "action": _FETCH,
    "details.wrapped": True,
    "details.subkeys": {"$ne": True},
}
#: A reply that was wrapped again is no value yet.
ANY_UNWRAP = {**SUCCESS, "action": Action.UNWRAP.value}
UNWRAPPED = {**ANY_UNWRAP, "details.wrapped": {"$ne": True}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The exposures to find, by at least one of the first fields; None accepts every value.

    Its `repr` has no texts: callers mistake a value for a name.
    """

    secret_id: str | None = field(default=None, repr=False)
    #: The name of a secret in `namespace`.
    secret_name: str | None = None
    principal: str | None = field(default=None, repr=False)
    #: The name of a token as the trail has it, or its accessor.
    token: str | None = field(default=None, repr=False)
    #: The address of the client, in its shortest form.
    address: str | None = None
    #: The name of a service, and the ID of a node, to which a driver delivered the value.
    service: str | None = field(default=None, repr=False)
    node: str | None = field(default=None, repr=False)
    since: datetime | None = None
    namespace: str = DEFAULT_NAMESPACE
    #: True to include replaced versions, and secrets that cannot be read.
    stale: bool = False
    #: True if who asked for a wrapped reply knows the value, too: anyone unwraps it, as `anonymous`.
    wrapped: bool = False

    @property
    def is_about_secret(self) -> bool:
        """True if it is about one secret, or about those with one name."""
        return self.secret_id is not None or self.secret_name is not None

    def record(self, attempt: Attempt) -> None:
        """Put the secret, and the names of the other criteria, on record in *attempt*.

        Not their texts: callers mistake a value for a name, and the trail is permanent.
        """
        attempt.secret_id = self.secret_id
        if self.secret_name is not None:
            attempt.details |= {"name": self.secret_name, "namespace": self.namespace}
        names = ("principal", "token", "address", "service", "node", "since")
        attempt.details["criteria"] = [name for name in names if getattr(self, name) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """A version of a secret, and a principal that knows it."""

    name: str | None
    namespace: str | None
    secret_id: str
    version: int
    #: True if it is the newest version of a secret that can be read.
    is_current: bool
    principal: str
    #: `fetch`, `unwrap`, `delivery`, `write` and `broker`.
    how: Sequence[str]
    #: The services for which it was fetched: the first ones by name, if there are many.
    services: Sequence[str]
    first_at: datetime
    last_at: datetime
    count: int
    #: The `stream`, `seq` and `hash` of the newest entry.
    last_entry: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """The uses of a version at a host, by a principal that never got the value."""

    name: str | None
    namespace: str | None
    secret_id: str
    version: int
    #: As in `Exposure`.
    is_current: bool
    principal: str
    #: With its port, unless that is 443.
    host: str
    first_at: datetime
    last_at: datetime
    count: int
    last_entry: Mapping[str, Any]


def use_fields(entry: str) -> dict[str, Any]:
    """Return the fields of a row, as `vault.core.trail.values.fields`, of the *entry* of a use."""
    return fields(entry, entry) | {"host": text_at(f"{entry}details.host", UNREADABLE)}


def broker_fields(entry: str) -> dict[str, Any]:
    """Return the fields of a row about the broker in the *entry* of a use."""
    return fields(entry, entry) | {"principal": text_at(f"{entry}{BROKER}", UNREADABLE), "how": "broker"}


def conditions(
    question: Question, principals: Sequence[str] | None, who: str = "principal"
) -> dict[str, Any]:
    """Return the conditions of *question* for entries that have any of *principals* at the path *who*."""
    found = {
        who: None if principals is None else {"$in": principals},
        "ip": question.address,
        "details.delivery.service": question.service,
        "details.delivery.node": question.node,
        "ts": {"$gte": question.since} if question.since else None,
    }
    return {name: value for name, value in found.items() if value is not None}


def key_of(row: Mapping[str, Any]) -> Key:
    """Return the key of a row, which is what MongoDB returns for an exposure."""
    key = row["_id"]
    return key["secret_id"], key["version"], key["principal"]


def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return two rows with the same key as one."""
    return {
        "_id": one["_id"],
        "how": {*one["how"], *other["how"]},
        "services": {*one["services"], *other["services"]},
        "first_at": min(one["first_at"], other["first_at"]),
        "last": max(one["last"], other["last"], key=_order),
        "count": one["count"] + other["count"],
    }


def _order(last: Mapping[str, Any]) -> tuple[datetime, str, int]:
    return last["ts"], str(last["stream"]), last["seq"]


def exposure_of(row: Mapping[str, Any], is_current: bool) -> Exposure:
    """Return the exposure of a row."""
    return Exposure(
        **_about(key_of(row), row, is_current),
        how=sorted(row["how"]),
        services=sorted(set(row["services"]))[:MAX_SERVICES],
    )


def use_of(key: Key, host: str, row: Mapping[str, Any], is_current: bool) -> Use:
    """Return the uses at *host* of a row about it."""
    return Use(**_about(key, row, is_current), host=host)


def _about(key: Key, row: Mapping[str, Any], is_current: bool) -> dict[str, Any]:
    secret_id, version, principal = key
    last = row["last"]
    return {
        "name": last["name"],
        "namespace": last["namespace"],
        "secret_id": secret_id,
        "version": version,
        "is_current": is_current,
        "principal": principal,
        "first_at": row["first_at"],
        "last_at": last["ts"],
        "count": row["count"],
        "last_entry": {name: last[name] for name in ("stream", "seq", "hash")},
    }
