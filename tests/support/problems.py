"""The errors in problem documents, as tests compare them."""

from collections import defaultdict
from typing import Any

from werkzeug.test import TestResponse


def messages_of(problem: dict[str, Any]) -> dict[str, list[str]]:
    """Return the messages of *problem* by the path of their field."""
    found = defaultdict(list)
    for error in problem.get("errors", ()):
        found[error["field"]].append(error["message"])
    return dict(found)


def fields_of(problem: dict[str, Any]) -> list[str]:
    """Return the top-level fields that *problem* names, each once."""
    return list(dict.fromkeys(path.partition(".")[0] for path in messages_of(problem)))


def without_id(reply: TestResponse) -> bytes:
    """Return the body of *reply* without the request's ID: the rest must not distinguish some refusals."""
    return bytes(reply.data.replace(reply.headers["X-Request-ID"].encode(), b""))
