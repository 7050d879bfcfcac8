"""Raw requests, and scenarios of them. Each has its own names, and states its promise in one sentence."""

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

MERGE = {"Content-Type": "application/merge-patch+json"}


WRAP = {"X-Vault-Wrap-TTL": "60"}


#: No body at all.
NOTHING = object()


class Call(NamedTuple):
    """One request below `/v1/`. In its path, `~` is the folder of the scenario."""

    method: str
    path: str
    #: Bytes are sent unchanged, all else as JSON.
    body: Any = NOTHING
    headers: Mapping[str, str] = MappingProxyType({})
    #: Whose token is sent: a key of `Server.tokens`, a kept one, `wrong`, or `anonymous` for none.
    caller: str = "admin"
    #: Keep the token of the reply, of a login or a wrapping, under this name.
    keep: str = ""

    @property
    def step(self) -> str:
        """Its name among the observations."""
        headers = (
            []
            if self.headers in (MERGE, WRAP)
            else [f"{name}: {text}" for name, text in self.headers.items()]
        )
        parts = [
            self.method,
            self.path[:60],
            self._shown_body,
            *headers,
            "wrapped" if self.headers == WRAP else "",
            "" if self.caller == "admin" else f"as {self.caller}",
        ]
        return " ".join(filter(None, parts))

    @property
    def _shown_body(self) -> str:
        if self.body is NOTHING:
            return ""
        text = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        return text[:40].decode("ascii", "backslashreplace")


class Scenario(NamedTuple):
    """Requests in order, and what they show."""

    name: str
    promise: str
    calls: tuple[Call, ...]
    #: Compare numbers as they are written.
    exact: bool = False


def get(path: str, **options: Any) -> Call:
    return Call("GET", path, **options)


def post(path: str, body: Any = NOTHING, **options: Any) -> Call:
    return Call("POST", path, body, **options)


def put(path: str, body: Any = NOTHING, **options: Any) -> Call:
    return Call("PUT", path, body, **options)


def delete(path: str, body: Any = NOTHING, **options: Any) -> Call:
    return Call("DELETE", path, body, **options)


def listing(path: str, body: Any = NOTHING, **options: Any) -> Call:
    return Call("LIST", path, body, **options)


def patch(path: str, body: Any = NOTHING, headers: Mapping[str, str] = MERGE, **options: Any) -> Call:
    return Call("PATCH", path, body, headers, **options)


def write(name: str, **value: Any) -> Call:
    return post(f"secret/data/~/{name}", {"data": value})


def read(name: str) -> Call:
    return get(f"secret/data/~/{name}")


def metadata(name: str) -> Call:
    return get(f"secret/metadata/~/{name}")


def each(make: Any, bodies: Iterable[Any], *after: Call) -> tuple[Call, ...]:
    """Return one call for each of *bodies*, each followed by *after*."""
    return tuple(call for body in bodies for call in (make(body), *after))
