"""Renewals of tokens: their new expiry, and storing it."""

from collections.abc import Callable
from datetime import datetime, timedelta

from vault.common import clock
from vault.common.errors import StorageUnavailableError, TokenNotRenewableError
from vault.common.outcomes import Status
from vault.common.retries import attempts
from vault.common.timestamps import to_milliseconds
from vault.core.attempt import Attempt
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.documents.token import Token


def renew(
    find: Callable[[], tuple[Token, TokenKey]],
    lifetime: timedelta | None,
    *,
    max_days: int,
    attempt: Attempt,
) -> Token:
    """Extend the active token that *find* returns by *lifetime* from now, and return it.

    At most, and by default, by its lifetime at creation, and a periodic token always by its period; never
    beyond its longest age, nor beyond an age of *max_days*, if that is not 0. If it ends later anyway, its
    expiry stays.

    Raises:
        TokenNotRenewableError: The token cannot be renewed.
        StorageUnavailableError: MongoDB became unavailable; the token may be renewed or not.
        VaultError: An error of *find*, also if the token was revoked in the meantime.
    """
    now = clock.now()
    token, key = find()
    if token.renewable_until is None:
        raise TokenNotRenewableError
    expires_at = _renewed(token, lifetime, now, max_days)
    attempt.details |= {
        "token": token.plain_name,
        "namespace": token.namespace,
        "expires_at": expires_at.isoformat(),
    }
    attempt.finish(Status.SUCCESS)
    for _ in attempts():
        with storage_errors("update"):
            if token.expires_at >= expires_at or token.renew(expires_at, key):
                return token
        # Another request has just renewed or revoked it.
        token, key = find()
    raise StorageUnavailableError("other requests kept changing the token")


def _renewed(token: Token, lifetime: timedelta | None, now: datetime, max_days: int) -> datetime:
    """Return the expiry of *token* after a renewal *now*."""
    longest = timedelta(seconds=token.renewal_seconds)
    extension = longest if token.periodic or not lifetime else min(lifetime, longest)
    ends = min(now + extension, token.renewable_until)
    if max_days:
        # The setting may be lower than when the token was created.
        ends = min(ends, token.created_at + timedelta(days=max_days))
    expires_at: datetime = token.expires_at
    return max(to_milliseconds(ends), expires_at)
