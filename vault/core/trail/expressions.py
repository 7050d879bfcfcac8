"""MongoDB's expressions for fields of entries, which can have any type if someone else wrote them."""

from typing import Any

#: Longer texts are shown as unreadable: the service stores none. Subjects of JWTs have up to 512 characters.
_MAX_TEXT_BYTES = 4_096
UNREADABLE = "(unreadable)"

Pipeline = list[dict[str, Any]]


def is_type(path: str, *types: str) -> dict[str, Any]:
    """Return MongoDB's expression for whether the value at *path* has one of these *types*."""
    return {"$in": [{"$type": path}, list(types)]}


def text_at(path: str, default: Any = None) -> dict[str, Any]:
    """Return MongoDB's expression for the text at *path*, or *default* if it is missing.

    It is bounded, as it is the key of groups.
    """
    is_short = {"$lte": [{"$strLenBytes": path}, _MAX_TEXT_BYTES]}
    # Not `$and`: MongoDB may evaluate the length of any other value.
    shown = {"$cond": [is_type(path, "string"), {"$cond": [is_short, path, UNREADABLE]}, UNREADABLE]}
    return {"$cond": [is_type(path, "missing", "null"), default, shown]}
