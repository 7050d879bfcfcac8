"""Tries to open a shared value with a passphrase: each is held, and counted once its entry is durable.

If the process dies, or the entry cannot be written, the try is not counted: no entry, no effect.
"""

from secrets import token_hex
from typing import NamedTuple

from pymongo import ReturnDocument

from vault.core.documents.expressions import holds, with_hold, without_hold
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.documents.secret import Secret

#: Wrong passphrases after which a shared value is spent.
MAX_TRIES = 5

#: Milliseconds, by MongoDB's clock, until a held try is free again. Longer than writing an entry can take.
_HELD_MILLISECONDS = 30_000

_COUNTED = {"$ifNull": ["$tries", 0]}
# An attacker may have stored another type: then none is left.
_TRIES = {"$cond": [{"$in": [{"$type": _COUNTED}, ["int", "long"]]}, _COUNTED, MAX_TRIES]}
_FIELD = "$held_tries"


class Try(NamedTuple):
    """One of the tries, while it is held."""

    accessor: str
    token: str
    #: From 1 to `MAX_TRIES`.
    number: int


def hold(accessor: str) -> Try | None:
    """Hold one of `MAX_TRIES` of the reply with this *accessor*; return None if none is left.

    However many callers hold one at the same time, they never exceed the limit, with those that were counted.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    token = token_hex(16)
    one_left = {"_id": accessor, "$expr": {"$lt": [{"$add": [_TRIES, {"$size": holds(_FIELD)}]}, MAX_TRIES]}}
    with storage_errors():
        found = Secret.raw().find_one_and_update(
            one_left,
            [{"$set": {"held_tries": with_hold(_FIELD, token, _HELD_MILLISECONDS)}}],
            projection={"tries": 1, "held_tries": 1},
            return_document=ReturnDocument.AFTER,
        )
    if found is None:
        return None
    return Try(accessor, token, (found.get("tries") or 0) + len(found["held_tries"]))


def count(held: Try) -> None:
    """Count a *held* try, whose entry is durable, and remove its reply if it was the last one.

    Raises:
        StorageUnavailableError: MongoDB is unavailable; it may be counted or not.
    """
    with storage_errors():
        counted = {"tries": {"$add": [_TRIES, 1]}, "held_tries": without_hold(_FIELD, held.token)}
        Secret.raw().update_one({"_id": held.accessor}, [{"$set": counted}])
        Secret.raw().delete_one({"_id": held.accessor, "tries": {"$gte": MAX_TRIES}})


def release(held: Try) -> None:
    """Release a *held* try without counting it. Ignore errors: it is free again in half a minute."""
    with best_effort_cleanup():
        others = without_hold(_FIELD, held.token)
        Secret.raw().update_one({"_id": held.accessor}, [{"$set": {"held_tries": others}}])
