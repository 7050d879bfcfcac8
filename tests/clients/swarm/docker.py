"""Docker, as the driver sees it: requests on its socket."""

import json
import socket
from base64 import b64decode
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

#: The place of Docker's requests for secrets.
GET_SECRET = "/SecretProvider.GetSecret"

#: A task's fields as Docker sends them.
TASK = {
    "SecretName": "shop_db_password",
    "ServiceID": "9mnpnzenvg8p8tdbtq4wvbkcz",
    "ServiceName": "shop_api",
    "ServiceLabels": {"com.docker.stack.namespace": "shop"},
    "TaskID": "kzzqdtbrqefyh3pmblf5kv9m0",
    "TaskName": "shop_api.1.kzzqdtbrqefyh3pmblf5kv9m0",
    "TaskImage": "registry.example.com/shop/api:1.4@sha256:0123456789abcdef",
    "NodeID": "24ifsmvkjbyhk0r2pvfnmdxtb",
    "ServiceEndpointSpec": {"Mode": 1},
}

#: What the audit entry of a delivery to this task says.
CONTEXT = {
    "service": "shop_api",
    "service_id": "9mnpnzenvg8p8tdbtq4wvbkcz",
    "task": "shop_api.1.kzzqdtbrqefyh3pmblf5kv9m0",
    "task_id": "kzzqdtbrqefyh3pmblf5kv9m0",
    "node": "24ifsmvkjbyhk0r2pvfnmdxtb",
    "image": "registry.example.com/shop/api:1.4@sha256:0123456789abcdef",
}


class Reply(NamedTuple):
    """A reply of the driver."""

    status: int
    body: dict[str, Any]

    @property
    def value(self) -> bytes:
        """The delivered value."""
        assert self.body.keys() == {"Value", "DoNotReuse"}, self.body
        assert self.body["DoNotReuse"] is True
        return b64decode(self.body["Value"], validate=True)

    @property
    def error(self) -> str:
        """The reason why there is no value."""
        assert self.status == 200
        assert self.body.keys() == {"Err"}
        return str(self.body["Err"])


def asked(labels: dict[str, str] | None = None, **fields: object) -> bytes:
    """Return the body of a request for a secret with these *labels* and other *fields* of a task."""
    prefixed = {f"secret-manager.{name}": text for name, text in (labels or {}).items()}
    return json.dumps(TASK | {"SecretLabels": prefixed} | fields).encode()


def connect(path: Path) -> socket.socket:
    """Return a connection to the driver on the socket *path*."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(str(path))
    return connection


def send(
    unix: socket.socket, place: str, body: bytes | None = b"", *, method: str = "POST"
) -> HTTPConnection:
    """Send a request at *place* to the driver on the connection *unix*."""
    connection = HTTPConnection("plugin")
    connection.sock = unix
    # As Docker does: no Content-Type.
    connection.request(method, place, body, {"Accept": "application/vnd.docker.plugins.v1.2+json"})
    return connection


def received(connection: HTTPConnection) -> Reply:
    """Return the reply to the request on *connection*."""
    reply = connection.getresponse()
    assert reply.getheader("Content-Type") == "application/vnd.docker.plugins.v1.2+json"
    return Reply(reply.status, json.loads(reply.read()))


def ask(path: Path, place: str, body: bytes | None = b"", *, method: str = "POST") -> Reply:
    """Return the reply to a request at *place* of the driver on the socket *path*."""
    with connect(path) as unix, closing(send(unix, place, body, method=method)) as connection:
        return received(connection)


def get_secret(path: Path, labels: dict[str, str] | None = None, **fields: object) -> Reply:
    """Return the reply to Docker's request for a secret with these *labels*."""
    return ask(path, GET_SECRET, asked(labels, **fields))
