"""The content of entries: attempts with their outcomes, without credentials."""

from typing import Any

from vault.common.credentials import has_token, without_tokens
from vault.common.outcomes import Status
from vault.common.text import printable
from vault.core.attempt import Attempt
from vault.core.crypto import audit_chain
from vault.core.principal import DEFAULT_NAMESPACE
from vault.core.trail import receipts
from vault.core.trail.streams.stream import StoredEntry

#: The maximum length of a recorded user agent; lower for refused requests, and for items of batches: one
#: request has many of them.
_MAX_USER_AGENT_LENGTH = 256
_MAX_SHORT_USER_AGENT_LENGTH = 64


def entry_of(attempt: Attempt, status: Status) -> StoredEntry:
    """Return the entry for an outcome, before it is chained."""
    is_short = status is Status.DENIED or attempt.whole
    length = _MAX_SHORT_USER_AGENT_LENGTH if is_short else _MAX_USER_AGENT_LENGTH
    principal = attempt.principal
    origin = {"role": principal.role, "issuer": principal.issuer} if principal.role else {}
    # What names no other namespace is about the caller's. That of wrapped replies is no caller's.
    namespace = (attempt.whole or attempt).principal.namespace
    if namespace != DEFAULT_NAMESPACE:
        origin["namespace"] = namespace
    entry = {
        "action": str(attempt.action),
        "status": str(status),
        "principal": principal.name,
        "secret_id": attempt.secret_id,
        "ip": attempt.ip,
        # Escaped for terminals. Truncated again afterwards: an escaped character takes up to ten.
        "ua": printable(without_tokens(attempt.user_agent)[:length])[:length],
        "request_id": attempt.request_id,
        "details": (origin | attempt.details | receipts.nonce(attempt, status)) or None,
    }
    entry = {name: value for name, value in entry.items() if value is not None}
    # An entry that cannot be hashed fails here alone, not together with the others of its commit.
    if has_token(audit_chain.canonical(entry).decode()):
        # Callers mistake a token for a name, and the trail is permanent.
        return {name: _without_tokens(value) for name, value in entry.items()}
    return entry


def _without_tokens(value: Any) -> Any:
    match value:
        case str():
            return without_tokens(value)
        case dict():
            return {_without_tokens(name): _without_tokens(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_without_tokens(inner) for inner in value]
        case _:
            return value
