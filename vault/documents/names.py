"""Conditions of queries on the names of secrets: prefixes, and paths."""

from typing import Any

from vault.core.paths import Paths

#: Above every character that a name may have. MongoDB compares the bytes of UTF-8, which are in the order of
#: code points, as Python's texts are.
ABOVE_ALL = "\U0010ffff"


def beginning_with(prefix: str, *, above: str = "") -> dict[str, Any]:
    """Return the condition for names that begin with *prefix* and are *above* another name."""
    return {"$gte": prefix, "$gt": above, "$lt": prefix + ABOVE_ALL}


def within(paths: Paths, *, prefix: str = "", above: str = "") -> list[dict[str, Any]]:
    """Return conditions, one of which every name within *paths* meets, and no other name.

    Only for names that begin with *prefix* and are *above* another name. Each condition is a range of an
    index, so MongoDB merges what it finds by them.
    """
    names = [name for name in paths.names if name.startswith(prefix) and name > above]
    # The longer of two prefixes, if it begins with the other.
    prefixes = [
        max(own, prefix) for own in paths.prefixes if own.startswith(prefix) or prefix.startswith(own)
    ]
    return [{"$in": sorted(names)}, *(beginning_with(own, above=above) for own in prefixes)]
