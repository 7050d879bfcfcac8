"""Mixes of calls of Vault's API: the same for every service that has it, except for address and tokens."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from secrets import token_hex

from baselines.processes import VALUE, Service

#: Shares of the kinds of calls: the usual load of a secret manager, and vault-benchmark's reads and writes.
STANDARD = {"read": 85, "list": 5, "write": 4, "delete": 4, "login": 1, "revoke": 1}
HALF = {"read": 50, "write": 50}

#: Applications with their secrets: these are read and listed.
_FOLDERS = 100
_NAMES = 10
#: Secrets that are written and deleted, so that no read meets a deleted one.
_CHANGING = 500

_REST = "/vault/secret"
_VALUE = {"secret": VALUE}

#: Threads that create secrets.
_THREADS = 4

#: Read by `wrk/replay.lua`.
_SEPARATOR = "\t"


@dataclass(frozen=True, slots=True)
class Call:
    """A request."""

    method: str
    path: str
    #: A name and a value, or nothing.
    header: tuple[str, ...] = ()
    body: Mapping[str, object] | None = None

    @property
    def content(self) -> str:
        """The body as it is sent."""
        return json.dumps(self.body, separators=(",", ":")) if self.body is not None else ""

    @property
    def line(self) -> str:
        """The call as a line of a file."""
        return _SEPARATOR.join((self.method, self.path, ": ".join(self.header), self.content))


def populate(service: Service) -> None:
    """Create the secrets that the mixes use."""

    def create(name: str) -> None:
        service.post(f"/v1/secret/data/{name}", {"data": _VALUE})

    with ThreadPoolExecutor(_THREADS) as pool:
        # Raises the first error.
        list(pool.map(create, (*_read_names(), *_changing_names())))


def calls(mix: Mapping[str, int], service: Service, count: int, *, seed: int) -> list[Call]:
    """Return *count* calls: all parts of it have the shares of *mix*, in an order that *seed* determines.

    Tokens to revoke are created now, one for each call.
    """
    chance = random.Random(seed)  # noqa: S311 - not for security
    makers = _makers(service, chance)
    kinds = _kinds(mix, chance)
    return [makers[next(kinds)]() for _ in range(count)]


def _kinds(mix: Mapping[str, int], chance: random.Random) -> Iterator[str]:
    block = [kind for kind, share in mix.items() for _ in range(share)]
    while True:
        yield from chance.sample(block, len(block))


def _makers(service: Service, chance: random.Random) -> dict[str, Callable[[], Call]]:
    """Return a function for each kind of call."""
    header, (token_header, token) = service.header, service.header
    bearer = ("Authorization", f"Bearer {token}")
    read, changing, folders = list(_read_names()), list(_changing_names()), list(_folders())
    new = _new_names()
    data, metadata = "/v1/secret/data", "/v1/secret/metadata"
    return {
        "read": lambda: Call("GET", f"{data}/{chance.choice(read)}", header),
        "list": lambda: Call("GET", f"{metadata}/{chance.choice(folders)}/?list=true", header),
        "write": lambda: Call("POST", f"{data}/{chance.choice(changing)}", header, {"data": _VALUE}),
        "create": lambda: Call("POST", f"{data}/{next(new)}", header, {"data": _VALUE}),
        "delete": lambda: Call("DELETE", f"{data}/{chance.choice(changing)}", header),
        "login": lambda: Call("POST", "/v1/auth/approle/login", body=service.login),
        "revoke": lambda: Call("POST", "/v1/auth/token/revoke-self", (token_header, new_token(service)), {}),
        # The same in the REST API of this service.
        "REST read": lambda: Call("POST", f"{_REST}/fetch", bearer, {"name": chance.choice(read)}),
        "REST write": lambda: Call(
            "POST", f"{_REST}/update", bearer, {"name": chance.choice(changing), "secret": VALUE}
        ),
        "REST create": lambda: Call("POST", f"{_REST}/create/", bearer, {"name": next(new), "secret": VALUE}),
    }


def new_token(service: Service) -> str:
    """Create a token with few rights and return it."""
    made = service.post("/v1/auth/token/create", {"policies": ["reader"], "ttl": "1h"})
    return str(made["auth"]["client_token"])  # type: ignore[index]


def _folders() -> Sequence[str]:
    return [f"apps/{number:03}" for number in range(_FOLDERS)]


def _read_names() -> Iterator[str]:
    return (f"{folder}/key-{number}" for folder in _folders() for number in range(_NAMES))


def _changing_names() -> Iterator[str]:
    return (f"jobs/key-{number}" for number in range(_CHANGING))


def _new_names() -> Iterator[str]:
    beginning, number = token_hex(4), 0
    while True:
        number += 1
        yield f"new/{beginning}-{number}"
