"""The shop's PostgreSQL, with the password that Secret Manager has for it at the moment."""

import json
import os
import socket
import threading
import time
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psycopg

#: The password is fetched again after this time, and after a failed login.
_FETCH_AFTER_SECONDS = 120


def fetch() -> dict[str, str]:
    """Return user and password of the database from Secret Manager."""
    token = Path(os.environ["VAULT_TOKEN_FILE"]).read_text().strip()
    request = Request(  # noqa: S310 - the URL is the operator's
        f"{os.environ['VAULT_URL']}/vault/secret/fetch",
        json.dumps({"name": "shop/db"}).encode(),
        {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            # By this, Secret Manager knows which tasks still have the former password.
            "User-Agent": f"shop/{socket.gethostname()}-{os.getpid()}",
        },
    )
    with urlopen(request, timeout=5) as reply:  # noqa: S310 - as above
        value = json.loads(b64decode(json.load(reply)["secret"]))
    return {"user": value["username"], "password": value["password"]}


class Database:
    """The table of orders. Each order has a connection; a pool would call `connect` for its new ones, too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._login: dict[str, str] = {}
        self._expires = 0.0

    def add(self, number: int) -> None:
        """Store an order."""
        with self.connect() as connection:
            connection.execute("INSERT INTO orders (number) VALUES (%s)", [number])

    def connect(self) -> psycopg.Connection[Any]:
        """Return a new connection."""
        login = self._current()
        try:
            return psycopg.connect(os.environ["DATABASE"], **login)
        except psycopg.OperationalError:
            return psycopg.connect(os.environ["DATABASE"], **self._current(failed=login))

    def _current(self, failed: dict[str, str] | None = None) -> dict[str, str]:
        with self._lock:
            if self._login in ({}, failed) or time.monotonic() > self._expires:
                self._expires = time.monotonic() + _FETCH_AFTER_SECONDS
                try:
                    self._login = fetch()
                except OSError:
                    # While Secret Manager is unavailable, the password that is known stays valid.
                    if not self._login:
                        raise
            return self._login
