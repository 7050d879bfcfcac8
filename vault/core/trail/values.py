"""Entries about values of secrets, which searches for those who know a value read in safe types."""

from collections.abc import Sequence
from typing import Any

from vault.common.outcomes import Status
from vault.core.attempt import Action
from vault.core.trail.expressions import UNREADABLE, is_type, text_at

SUCCESS = {"status": Status.SUCCESS.value}
#: Successes without a value: its keys are not the value, and a new secret can be without one.
NO_VALUES: Sequence[dict[str, Any]] = (
    {"action": Action.FETCH.value, "details.subkeys": True},
    {"action": Action.CREATE.value, "details.version": 0},
)

#: An attacker may have stored other types.
SAFE = {
    "$expr": {
        "$and": [
            {"$ne": ["$secret_id", UNREADABLE]},
            is_type("$ts", "date"),
            *(is_type(f"${name}", "int", "long") for name in ("version", "seq")),
        ]
    }
}


def fields(entry: str, origin: str) -> dict[str, Any]:
    """Return the fields of a row, in safe types, of an *entry* and of its *origin*."""
    details = f"{origin}details"
    # A fetch of a secret that has only its first version, and most creates, have none.
    version = {"$cond": [is_type(f"{details}.version", "missing"), 1, f"{details}.version"]}
    has_service = {"$eq": [{"$type": f"{entry}details.delivery"}, "object"]}
    fetched = {"$cond": [has_service, "delivery", "fetch"]}
    kinds = {Action.FETCH: fetched, Action.UNWRAP: "unwrap"}
    branches = [{"case": {"$eq": [f"{entry}action", one.value]}, "then": how} for one, how in kinds.items()]
    return {
        "_id": False,
        "secret_id": text_at(f"{origin}secret_id"),
        # An import has several.
        "version": {"$cond": [is_type(f"{details}.versions", "array"), f"{details}.versions", version]},
        "name": text_at(f"{details}.name"),
        "namespace": text_at(f"{details}.namespace"),
        "principal": text_at(f"{entry}principal", UNREADABLE),
        "how": {"$switch": {"branches": branches, "default": "write"}},
        "service": text_at(f"{entry}details.delivery.service", "$$REMOVE"),
        **{name: f"{entry}{name}" for name in ("ts", "seq")},
        **{name: text_at(f"{entry}{name}") for name in ("stream", "hash")},
    }
