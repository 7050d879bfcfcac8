"""The requests of each client with their times, and the answer, or that it is unknown."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: In place of a status: the connection was refused, so the service never had the request.
NOT_SENT = 0
#: In place of a status: the request was sent, and its outcome is unknown.
UNKNOWN = -1

UNAVAILABLE = 503
#: What a 503 says of which nothing but another change of the same secret is the reason.
BUSY = "The secret is being modified by another request"
#: By these a client knows what happened.
KNOWN = (200, 404, 409)

#: Begins the names that all clients create and write.
COMMON = "common/"

#: Every value has it, so that a value is known wherever it turns up. In base64 it is the same in every value.
MARK = b"fault-value-"


@dataclass(slots=True)
class Request:
    """One request and its outcome. Times are seconds of one monotonic clock."""

    id: str
    action: str
    #: The secret that it is about, as the clients call it; its id is known only once one has been given.
    secret: str
    body: dict[str, Any]
    sent: float
    answered: float
    status: int
    #: The body of the reply, as it came.
    text: str = ""
    key: str | None = None
    #: The host that was asked.
    asked: str = ""

    @property
    def is_by_name(self) -> bool:
        """True if its secret is one that all clients know by its name, and may have been created by any."""
        return self.secret.startswith(COMMON)

    def __str__(self) -> str:
        return f"{self.action} {self.id} of {self.secret}"

    def did(self, action: str) -> bool:
        """Return whether it was an *action* that was answered 200."""
        return self.action == action and self.succeeded

    @property
    def succeeded(self) -> bool:
        """True if it was answered 200."""
        return self.status == 200

    @property
    def failed(self) -> bool:
        """True if the client does not know the outcome, or knows that it had no effect."""
        return self.status not in KNOWN

    @property
    def met_another(self) -> bool:
        """True if it was refused for another change of the secret, in progress or not yet rolled back."""
        return self.status == UNAVAILABLE and BUSY in self.text

    @property
    def reply(self) -> dict[str, Any]:
        """The parsed reply."""
        said: dict[str, Any] = json.loads(self.text)
        # Vault's API has an envelope.
        found: dict[str, Any] = said.get("data", said)
        return found


class History:
    """All requests, in the order of their answers."""

    def __init__(self, requests: list[Request] | None = None) -> None:
        self.requests = requests or []

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)

    def add(self, request: Request) -> None:
        """Keep *request*; callable from any thread."""
        self.requests.append(request)

    def save(self, path: Path) -> None:
        """Write it to *path*, one request per line."""
        with path.open("w") as file:
            file.writelines(json.dumps(asdict(request)) + "\n" for request in self.requests)

    @classmethod
    def load(cls, path: Path) -> "History":
        """Return the history written by `save`."""
        with path.open() as file:
            return cls([Request(**json.loads(line)) for line in file])
