"""The kinds of events: what entries of the trail announce.

An entry here, or in the declaration of a feature, is all that makes a kind: webhooks can ask for it, its
events are sent, and the documents have it.
"""

from functools import partial

from vault.common import feature
from vault.common.feature import EventKind
from vault.core.attempt import Action

_OF_SECRET = partial(
    EventKind,
    shown=("name", "namespace", "version", "versions", "days", "expires_at", "last_fetched_at"),
    required=("name", "namespace"),
)
_OF_TOKEN = partial(
    EventKind, shown=("token", "namespace", "days", "expires_at"), required=("token", "namespace")
)
_VERSIONS = "or the versions in `versions` or `version` were"
_SOON = "expires within 30, 7 or 1 `days`; once each"

_CORE = (
    _OF_SECRET("secret.created", Action.CREATE, "a first version was stored", same=(), is_of_version=True),
    _OF_SECRET(
        "secret.updated", Action.UPDATE, "a further version was stored", same=("version",), is_of_version=True
    ),
    _OF_SECRET("secret.deleted", Action.DELETE, f"a secret was deleted, {_VERSIONS}"),
    _OF_SECRET("secret.restored", Action.RESTORE, f"a secret was restored, {_VERSIONS}"),
    _OF_SECRET("secret.purged", Action.PURGE, f"a secret was purged, {_VERSIONS}"),
    _OF_SECRET("secret.expiring", Action.SECRET_EXPIRING, f"a secret {_SOON}", same=("days", "expires_at")),
    _OF_SECRET(
        "secret.unused",
        Action.SECRET_UNUSED,
        "no one has fetched a secret for 90 days, since `last_fetched_at`; the trail must be older",
        same=("last_fetched_at",),
    ),
    _OF_TOKEN("token.created", Action.TOKEN_CREATE, "a token was created"),
    _OF_TOKEN("token.revoked", Action.TOKEN_REVOKE, "a token was revoked"),
    _OF_TOKEN(
        "token.expiring",
        Action.TOKEN_EXPIRING,
        f"a token that cannot be renewed {_SOON}",
        same=("namespace", "token", "days", "expires_at"),
    ),
    EventKind(
        "audit.tampering",
        Action.AUDIT_TAMPERING,
        "`secret-manager audit report` or a certificate found [tampering](audit.md#verification-findings)",
    ),
    EventKind(
        "auth.disabled",
        Action.AUTH_DISABLED,
        "an operator [disabled authentication](access.md#switch-authentication-off)",
    ),
    EventKind(
        "canary.read",
        Action.FETCH,
        "a fetch returned a [canary](evidence.md#canaries)",
        shown=("name", "namespace", "version"),
        required=("name", "namespace"),
        mark="canary",
    ),
)


def kinds() -> dict[str, EventKind]:
    """Return all kinds by name: those of the core, then those of the features."""
    return {kind.name: kind for kind in (*_CORE, *feature.events())}
