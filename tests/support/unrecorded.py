"""Effects in the database that have no entry in the audit trail."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from pymongo.database import Database
from pymongo.read_concern import ReadConcern

#: The namespace of wrapped replies.
WRAPPED = "service:wrapping"

#: Everything that can be read, listed or used.
_VISIBLE = {"pending": None}


def unrecorded(stored: Database[dict[str, Any]]) -> dict[str, int]:
    """Return the number of effects without an entry, by kind."""
    # Without pending effects, which could still be rolled back.
    sure = stored.with_options(read_concern=ReadConcern("majority"))
    # First the effects: the entry of each is written before it.
    secrets = list(sure.secrets.find(_VISIBLE, {"envelope": 0, "older.envelope": 0}))
    tokens = list(sure.tokens.find(_VISIBLE))
    roles = [("role_create", one["name"], None) for one in sure.roles.find(_VISIBLE)]
    entries = Counter(
        effect for entry in sure.audit_logs.find({"status": "success"}) for effect in _recorded(entry)
    )
    # The one read of a wrapped reply is an unwrap, or a refusal that spent its token.
    effects = Counter(("wrap", one["_id"], None) for one in secrets if _is_wrapped(one))
    effects.update(effect for one in secrets if not _is_wrapped(one) for effect in _of_secret(one))
    effects.update(effect for one in tokens for effect in _of_token(one))
    effects.update(roles)
    lacking = effects - entries
    return dict(Counter(action for action, *_ in lacking.elements()))


def _recorded(entry: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    details = entry.get("details") or {}
    named = {"token": details.get("token"), "role": details.get("role_name")}
    which = named.get(entry["action"].partition("_")[0], entry.get("secret_id"))
    yield entry["action"], which, details.get("version") if entry["action"] == "update" else None
    if "accessor" in details:
        # The request whose reply is wrapped has the entry.
        yield "wrap", details["accessor"], None
    if "imported_from" in details:
        # One entry is for all versions of an imported secret.
        for version in details["versions"]:
            yield "update", which, version


def _is_wrapped(secret: Mapping[str, Any]) -> bool:
    return secret.get("namespace") == WRAPPED


def _of_secret(secret: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    name = secret["_id"]
    yield "create", name, None
    for stored in (secret, *secret.get("older", ())):
        if stored["version"] > 1:
            yield "update", name, stored["version"]
    if "deleted_at" in secret:
        yield "delete", name, None
    # One entry can be of several versions.
    if any(state["deleted_at"] for state in secret.get("states", ())):
        yield "delete", name, None
    if "purged" in secret:
        yield "purge", name, None
    # A secret without a value is created with the first version of its metadata.
    for _ in range(secret.get("metadata_version", 0) - (not secret["version"])):
        yield "update_metadata", name, None
    for _ in range(secret.get("reads", 0)):
        yield "fetch", name, None


def _of_token(token: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    yield "token_create", token["name"], None
    if token.get("revoked_at"):
        yield "token_revoke", token["name"], None
    created = timedelta(seconds=token.get("renewal_seconds", 0))
    if created and token["expires_at"] > token["created_at"] + created:
        yield "token_renew", token["name"], None
