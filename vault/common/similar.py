"""Similar names: the known one that an unknown one may stand for."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

#: Longer names have no similar one: comparing them would take long.
_MAX_LENGTH = 64
_MIN_SIMILARITY = 0.75
_WORD_START = re.compile("(?<=[a-z0-9])(?=[A-Z])")


def similar(name: str, known: Iterable[str]) -> str:
    """Return the name of *known* that *name* may stand for; empty without one.

    Names have words between underscores. It stands for the first one with all its words, such as `ttl` for
    `ttl_seconds`, or else for one with few other letters.
    """
    if len(name) > _MAX_LENGTH:
        return ""
    name = _WORD_START.sub("_", name).lower().replace("-", "_")
    words = set(name.split("_"))
    names = list(known)
    with_words = [one for one in names if words <= set(one.split("_"))]
    return next(iter(with_words or get_close_matches(name, names, 1, _MIN_SIMILARITY)), "")
