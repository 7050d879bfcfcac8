"""Conditions that select secrets, their order, and positions in it."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, unquote

from pymongo.collation import Collation

from vault.common.attributes import ATTRIBUTES, Description
from vault.common.errors import InvalidCursorError
from vault.common.paths import Paths
from vault.core.documents.base import text
from vault.core.documents.expressions import beginning_with, within
from vault.core.documents.secret import Secret
from vault.core.principal import Principal

ORDER = [("name", 1), ("_id", 1)]

#: Secrets of a page that are read in one round trip: a default page. Labels can take 40 KiB each.
LABELLED_AT_ONCE = 101
#: Secrets without their labels that are read in one round trip.
AT_ONCE = 250

#: By the collation of a collection that an attacker has made, other names would be within the bounds.
BY_BYTES = Collation("simple")

NO_CONDITION: Mapping[str, Any] = {}
SUMMARY_FIELDS: Mapping[str, Any] = {"name": 1, **{one.name: 1 for one in ATTRIBUTES}}

#: The end of a page: the last secret's name, if it has one, and its ID.
Position = tuple[str | None, str]

#: The form of cursors: the ID, and the percent-encoded name if there is one. Each text of this form is a
#: position.
CURSOR_PATTERN = "^[0-9a-f-]{36}(?:/(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2}){1,512})?$"


def find_page(
    principal: Principal,
    *,
    now: datetime,
    after: Position | None = None,
    limit: int,
    name_prefix: str,
    deleted: bool = False,
    only: Mapping[str, Any] = NO_CONDITION,
    wanted: Mapping[str, Any] = SUMMARY_FIELDS,
) -> Iterator[Mapping[str, Any]]:
    """Yield ID and *wanted* fields of secrets that are visible, or with *deleted* restorable, at *now*.

    Only of those that *principal* reaches, and that meet the condition *only*.
    """
    conditions = [
        reached(principal, prefix=name_prefix, after=after),
        *visible(now, deleted=deleted),
        only,
    ]
    at_once = LABELLED_AT_ONCE if wanted is SUMMARY_FIELDS else AT_ONCE
    found: Iterator[Mapping[str, Any]] = (
        Secret.raw()
        .find({"$and": conditions}, wanted, batch_size=at_once, collation=BY_BYTES)
        .sort(ORDER)
        .limit(limit)
    )
    return found


def visible(now: datetime, *, deleted: bool = False) -> list[dict[str, Any]]:
    """Return the conditions of `StoredSecret.is_visible`, or with *deleted* those for restorable secrets."""
    return [
        {"pending": None, "deleted_at": {"$exists": True} if deleted else None},
        {"$or": [{"expires_at": None}, {"expires_at": {"$gt": now}}]},
        {"$or": [{"max_reads": None}, {"$expr": {"$lt": [{"$ifNull": ["$reads", 0]}, "$max_reads"]}}]},
        *([{"purge_at": {"$gt": now}}] if deleted else []),
    ]


def reached(principal: Principal, *, prefix: str = "", after: Position | None = None) -> dict[str, Any]:
    """Return the condition for secrets that *principal* reaches: the twin of `vault.core.secrets.reach`.

    Only for names that begin with *prefix*, after the end of a page.
    """
    conditions: list[dict[str, Any]] = [{"namespace": principal.namespace}]
    if principal.paths:
        return {"$and": [*conditions, _within(principal.paths, prefix, after)]}
    if prefix:
        conditions.append({"name": beginning_with(prefix)})
    if after:
        conditions.append(_beyond(after))
    return {"$and": conditions}


def _beyond(position: Position) -> dict[str, Any]:
    name, secret_id = position
    if name is None:
        # Secrets without a name come before all others.
        return {"$or": [{"name": None, "_id": {"$gt": secret_id}}, {"name": {"$ne": None}}]}
    # With alternatives alone, MongoDB often reads the index from its beginning.
    return {"name": {"$gte": name}, "$or": [{"name": {"$gt": name}}, {"_id": {"$gt": secret_id}}]}


def _within(paths: Paths, prefix: str, after: Position | None) -> dict[str, Any]:
    """Return the condition for names within *paths* that begin with *prefix*, after the end of a page.

    Every alternative begins there, as MongoDB uses the bounds of only one list of alternatives.
    """
    name, secret_id = after or (None, "")
    found: list[dict[str, Any]] = [
        {"name": condition} for condition in within(paths, prefix=prefix, above=name or "")
    ]
    if name and name.startswith(prefix) and paths.include(name):
        found.append({"name": name, "_id": {"$gt": secret_id}})
    return {"$or": found}


def described(description: Description) -> dict[str, Any]:
    """Return the condition for secrets that have all of a *description*."""
    stored = {name: value for name, value in description.stored.items() if value is not None}
    return {name: {"$all": value} if isinstance(value, list) else value for name, value in stored.items()}


def position_of(document: Mapping[str, Any]) -> Position:
    """Return the position of a secret. An attacker may have stored another type, which reads as no name."""
    return text(document.get("name")) or None, text(document["_id"])


def rank(position: Position) -> tuple[str, str]:
    """Return what sorts positions in the order of secrets."""
    name, secret_id = position
    return name or "", secret_id


def cursor_of(name: str | None, secret_id: str) -> str:
    """Return the cursor of a position."""
    return secret_id if name is None else f"{secret_id}/{quote(name)}"


def position_at(cursor: str) -> Position:
    """Return the position of a *cursor*.

    Raises:
        InvalidCursorError: It has another form.
    """
    if not re.fullmatch(CURSOR_PATTERN, cursor):
        raise InvalidCursorError
    secret_id, _, name = cursor.partition("/")
    # What is not UTF-8 is replaced: then it is a position of no secret, like any other text.
    return unquote(name) or None, secret_id
