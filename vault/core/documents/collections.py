"""The collections of the service's database: exactly what its MongoDB user needs, and what backups keep."""

from vault.common import feature
from vault.common.feature import Collection
from vault.core.documents.audit import AuditEntry, AuditKey
from vault.core.documents.base import IDEMPOTENCY_COLLECTION
from vault.core.documents.secret import Secret
from vault.core.documents.token import StoredTokenKey, Token

TRAIL = AuditEntry.collection_name()

_ALL = ("find", "insert", "update", "remove")
_INDEXED = (*_ALL, "createIndex")


def collections() -> dict[str, Collection]:
    """Return all collections by name, in the order in which backups have them: the largest last."""
    return {
        # The service adds and reads entries, and never changes or removes one. An index can remove entries
        # too, so the administrator who creates the role also creates the indexes.
        TRAIL: Collection(("find", "insert", "listIndexes")),
        "keys": Collection(("find", "insert", "update"), is_kept=False),
        # The library `limits` creates indexes on both, and counts in the first.
        "rate_limits": Collection(("find", "insert", "update", "createIndex"), is_kept=False),
        "rate_limit_windows": Collection(("createIndex",), is_kept=False),
        # Removed only by operators, to end all tokens after a leak of the master key; see docs/runbook.md.
        StoredTokenKey.collection_name(): Collection(_ALL),
        # Expired pending tokens are removed.
        Token.collection_name(): Collection(_INDEXED),
        **feature.collections(),
        # An endorsement is added to the key that it vouches for. Keys are never removed.
        AuditKey.collection_name(): Collection(("find", "insert", "update")),
        IDEMPOTENCY_COLLECTION: Collection(_INDEXED),
        Secret.collection_name(): Collection(_INDEXED),
    }
