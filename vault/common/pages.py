"""Pages that end early: at so many bytes of documents."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

#: Maximum bytes of a page, as JSON.
MAX_PAGE_BYTES = 1_048_576


def page_bytes(limit: int, largest_bytes: int) -> int:
    """Return the maximum bytes of a page of *limit* documents of up to *largest_bytes* each, as JSON."""
    return min(MAX_PAGE_BYTES, limit * largest_bytes)


def first_page(
    documents: Iterable[Mapping[str, Any]], limit: int, largest_bytes: int
) -> tuple[list[Mapping[str, Any]], bool]:
    """Return the first *documents* that fit a page, at most *limit*, and True if there are more."""
    shown: list[Mapping[str, Any]] = []
    room = MAX_PAGE_BYTES - largest_bytes
    for document in documents:
        if len(shown) == limit or room <= 0:
            return shown, True
        room -= len(json.dumps(document, default=str))
        shown.append(document)
    return shown, False
