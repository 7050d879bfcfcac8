"""The health check of a driver: its socket answers."""

import socket
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

_TIMEOUT_SECONDS = 2


def failure(path: Path) -> str:
    """Return the reason why no driver answers on the socket *path*; empty if one does."""
    try:
        with socket.socket(socket.AF_UNIX) as driver, closing(HTTPConnection("localhost")) as connection:
            driver.settimeout(_TIMEOUT_SECONDS)
            driver.connect(str(path))
            connection.sock = driver
            connection.request("GET", "/health")
            reply = connection.getresponse()
            # The driver logs a client that leaves before the end of the reply.
            reply.read()
    except (OSError, HTTPException) as error:
        return f"no reply on {path}: {error}"
    return "" if reply.status == HTTPStatus.OK else f"the reply on {path} is {reply.status}"
