"""The ages of tokens: expiring soon, and unused."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import nsmallest

from vault.auth.tokens.info import STATES, TokenInfo, info_of
from vault.crypto import Keyring
from vault.documents.guard import storage_errors
from vault.documents.token import StoredTokenKey, Token

#: The maximum number of tokens in each list.
MAX_ROWS = 12


@dataclass(frozen=True, slots=True)
class TokenAges:
    """The ages of all tokens."""

    #: The number of tokens by state.
    states: dict[str, int]
    #: The number of active tokens that expire soon, and the first of them.
    expiring_count: int
    expiring: Sequence[TokenInfo]
    #: The number of active tokens that were not used in the period, and the longest unused of them.
    unused_count: int
    unused: Sequence[TokenInfo]


def token_ages(keyring: Keyring, now: datetime, *, since: datetime, soon: timedelta) -> TokenAges:
    """Return the ages of tokens at the time *now*.

    An active token is unused if it was created before *since* and not used after that. It expires soon if it
    does within the time *soon*.
    """
    with storage_errors():
        stored = StoredTokenKey.stored()
        key = stored and stored.decrypt(keyring)
        infos = [info_of(token, key, now) for token in Token.objects(pending=None)]
    expiring = [info for info in infos if info.state == "active" and _end(info) <= now + soon]
    unused = [info for info in infos if info.is_unused(since)]
    return TokenAges(
        states={state: sum(info.state == state for info in infos) for state in STATES},
        expiring_count=len(expiring),
        expiring=nsmallest(MAX_ROWS, expiring, key=lambda info: (_end(info), info.name)),
        unused_count=len(unused),
        unused=nsmallest(MAX_ROWS, unused, key=lambda info: str(info.last_used_at or info.created_at)),
    )


def _end(info: TokenInfo) -> datetime:
    return info.expires_at or datetime.max.replace(tzinfo=UTC)
