"""Pages of tokens in order of name, filtered by MongoDB."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from pymongo.cursor import Cursor

from vault.common import clock
from vault.common.errors import InvalidCursorError
from vault.common.pages import first_page
from vault.common.paths import Paths
from vault.core.access.tokens.info import TokenInfo, info_of
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.documents.token import Token, accessor_of
from vault.core.principal import NAME_PATTERN, OPERATOR, Principal

_NAME = NAME_PATTERN.strip("^$")

#: The form of stored names, which can begin with the namespace.
_STORED_NAME = f"(?:{_NAME}/)?{_NAME}"

#: The form of cursors: the stored name of a page's last token. Each text of this form is a position.
CURSOR_PATTERN = f"^{_STORED_NAME}$"

#: Maximum bytes of a token in a page, as JSON, where a byte of a path can take 3.
LARGEST_BYTES = 65_536

#: Tokens that are read in one round trip: a default page. Paths can take 16 KiB each.
_AT_ONCE = 101


class TokenPages:
    """The tokens that a principal sees, in pages; as an iterable, all of them.

    They are of its namespace, and their paths are within its own; operators see all tokens. Methods raise
    `StorageUnavailableError` if MongoDB is not available.
    """

    def __init__(
        self,
        principal: Principal,
        key: TokenKey | None,
        *,
        state: str | None = None,
        unused_for: timedelta | None = None,
    ) -> None:
        """Select only tokens in *state*, and only active ones without a use in the time *unused_for*."""
        self._principal = principal
        self._key = key
        self._state = state
        self._now = clock.now()
        self._unused_since = self._now - unused_for if unused_for else None

    def __iter__(self) -> Iterator[TokenInfo]:
        """Yield all tokens, in one query."""
        with storage_errors("find"):
            documents = list(self._find())
        return self._wanted(documents)

    def page(self, cursor: str | None, limit: int) -> tuple[list[TokenInfo], str | None]:
        """Return the tokens after *cursor*, of *limit* that MongoDB finds, and the cursor for the next page.

        A page ends early if its tokens take `MAX_PAGE_BYTES`.

        Raises:
            InvalidCursorError: This function did not return *cursor*.
        """
        after = "" if cursor is None else _position(cursor)
        # Only names that can be cursors. MongoDB compares lists by their elements.
        names = {"$gt": after, "$regex": rf"^{_STORED_NAME}\z", "$not": {"$type": "array"}}
        with storage_errors("find"):
            # One more shows whether there is a next page.
            documents = self._find({"name": names}, limit=limit + 1).batch_size(_AT_ONCE)
            shown, has_more = first_page(documents, limit, LARGEST_BYTES)
        return list(self._wanted(shown)), shown[-1]["name"] if has_more else None

    def accessors(self, limit: int) -> list[str]:
        """Return up to *limit* accessors; some can belong to altered tokens."""
        # Only the IDs: verifying thousands of seals would take seconds.
        with storage_errors("find"):
            return [accessor_of(document["_id"]) for document in self._find(limit=limit, fields={"_id": 1})]

    def _find(
        self, *conditions: Mapping[str, Any], limit: int = 0, fields: Mapping[str, Any] | None = None
    ) -> Cursor[dict[str, Any]]:
        """Find *fields* of the documents that meet *conditions* and filters; all without a *limit*."""
        every = {"$and": [*conditions, self._visible(), *self._filters()]}
        documents: Cursor[dict[str, Any]] = Token.raw().find(every, fields).sort("name").limit(limit)
        return documents

    def _wanted(self, documents: Iterable[Mapping[str, Any]]) -> Iterator[TokenInfo]:
        """Yield the tokens of *documents*, without altered ones that do not match."""
        infos = (info_of(Token.of_stored(document), self._key, self._now) for document in documents)
        return filter(self._is_wanted, infos)

    def _visible(self) -> dict[str, Any]:
        """Return the condition for tokens that the principal sees."""
        principal = self._principal
        own = {} if principal is OPERATOR else {"namespace": principal.namespace, **_within(principal.paths)}
        return {"pending": None, **own}

    def _filters(self) -> Iterator[dict[str, Any]]:
        """Yield the conditions of the filters. A token that does not meet them can only be altered."""
        if self._state in _STATES:
            yield _STATES[self._state](self._now)
        if self._unused_since:
            yield _STATES["active"](self._now)
            yield {
                "$or": [
                    {"last_used_at": {"$lte": self._unused_since}},
                    # It is not sealed: of any type.
                    {"last_used_at": {"$not": {"$type": "date"}}, "created_at": {"$lte": self._unused_since}},
                ]
            }

    def _is_wanted(self, info: TokenInfo) -> bool:
        return (
            # An altered one has no paths.
            self._principal.paths.cover(Paths.of(info.paths))
            and self._state in (None, info.state)
            and (self._unused_since is None or info.is_unused(self._unused_since))
        )


#: The conditions of states by time; the seal alone shows that a token is altered.
_STATES: Mapping[str | None, Any] = {
    "active": lambda now: {"revoked_at": None, "$or": [{"expires_at": None}, {"expires_at": {"$gt": now}}]},
    "expired": lambda now: {"revoked_at": None, "expires_at": {"$lte": now}},
    "revoked": lambda _now: {"revoked_at": {"$ne": None}},
}


def _within(paths: Paths) -> dict[str, Any]:
    """Return the condition for tokens whose paths are within *paths*: the twin of `Paths.cover`."""
    if not paths:
        return {}
    covered = [*paths.names, *(re.compile(f"^{re.escape(prefix)}") for prefix in paths.prefixes)]
    return {"paths": {"$type": "array", "$not": {"$elemMatch": {"$nin": covered}}}}


def _position(cursor: str) -> str:
    if not re.fullmatch(CURSOR_PATTERN, cursor):
        raise InvalidCursorError
    return cursor
