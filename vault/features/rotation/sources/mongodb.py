"""The source `mongodb`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from vault.features.rotation.sources.authorities import require_file
from vault.features.rotation.sources.errors import (
    SourceRefusedError,
    SourceUnavailableError,
    tls_failure,
    wrong_password,
)
from vault.features.rotation.sources.hosts import is_this_machine, require_allowed
from vault.features.rotation.sources.source import Confirm, Server, unconditionally

_INVALID = "the administrator's secret is not a URL of MongoDB, or has an option that is not supported"
#: Options of the driver that a URL can have, in lower case. Others name files, or the service's own identity.
_OPTIONS = frozenset(
    {
        *("appname", "authsource", "directconnection", "loadbalanced", "readpreference", "replicaset"),
        *("journal", "retryreads", "retrywrites", "ssl", "tls", "tlsallowinvalidcertificates"),
        *("tlsallowinvalidhostnames", "tlscafile", "tlsinsecure", "w"),
    }
)
_AUTHENTICATION_FAILED, _UNAUTHORIZED, _NO_USER = 18, 13, 11


class MongoDB(Server):
    """A MongoDB deployment. MongoDB hides passwords in commands from its logs; TLS protects the way to it."""

    def __init__(self, url: str, seconds: int) -> None:
        """Connect as the *url* says within *seconds*; the users are in its `authSource`.

        Raises:
            SourceRefusedError: The URL is not valid.
        """
        self._url = url.strip()
        # The driver retries for this long, and must have its reason before the time of the step ends.
        milliseconds = 800 * seconds
        self._options: dict[str, Any] = {
            "serverSelectionTimeoutMS": milliseconds,
            "connectTimeoutMS": milliseconds,
            "socketTimeoutMS": milliseconds,
            "appname": "secret-manager",
        }
        try:
            # As the driver, which reads on behind a `#`, and splits at a `;`, too.
            parts = urlsplit(self._url, allow_fragments=False)
        except ValueError:
            # The text can quote the URL.
            raise SourceRefusedError(_INVALID) from None
        if parts.scheme not in ("mongodb", "mongodb+srv"):
            raise SourceRefusedError(_INVALID)
        given = {name.lower(): value for name, value in parse_qsl(parts.query)}
        is_ambiguous = ";" in parts.query or (parts.query and not parts.path)
        if is_ambiguous or given.keys() - _OPTIONS:
            raise SourceRefusedError(_INVALID)
        require_file(given.get("tlscafile"))
        hosts = _hosts(parts.netloc)
        # The driver looks up the hosts behind the name of a mongodb+srv://.
        self._hosts = hosts if parts.scheme == "mongodb" else []
        is_local = all(map(is_this_machine, hosts))
        if "tlscafile" in given or not (given.keys() & {"tls", "ssl"} or is_local):
            self._options["tls"] = True
        self._users = given.get("authsource") or unquote(parts.path.strip("/")) or "admin"
        try:
            self._client({}).close()
        except (OSError, PyMongoError, TypeError, ValueError):
            # As above; and a file that an option names may be missing.
            raise SourceRefusedError(_INVALID) from None

    def set_password(self, user: str, password: str, confirm: Confirm = unconditionally) -> None:
        """As `Source`."""
        with self._connected({}) as client:
            confirm()
            client[self._users].command("updateUser", user, pwd=password)

    def login(self, user: str, password: str) -> bool:
        """As `Source`."""
        # The driver would connect without a user, and fails without a password.
        return bool(user and password) and super().login(user, password)

    def _client(self, credential: dict[str, str]) -> "MongoClient[dict[str, Any]]":
        options = dict(self._options)
        if credential:
            options |= {"username": credential["user"], "password": credential["password"]}
            options["authSource"] = self._users
        return MongoClient(self._url, connect=False, **options)

    @contextmanager
    def _connected(self, credential: dict[str, str]) -> "Iterator[MongoClient[dict[str, Any]]]":
        require_allowed(self._hosts)
        with self._client(credential) as client:
            try:
                # Authenticates, and needs no right.
                client.admin.command("ping")
                yield client
            except PyMongoError as error:
                raise _failure(error, is_admin=not credential) from None


def _hosts(place: str) -> list[str]:
    names = place.rpartition("@")[2].split(",")
    return [
        name.partition("]")[0].strip("[") if name.startswith("[") else name.partition(":")[0]
        for name in names
    ]


def _failure(error: PyMongoError, *, is_admin: bool) -> SourceRefusedError | SourceUnavailableError:
    if isinstance(error, OperationFailure):
        if error.code == _AUTHENTICATION_FAILED:
            return wrong_password(is_admin=is_admin)
        if error.code == _UNAUTHORIZED:
            return SourceRefusedError("the administrator may not change the user's password")
        if error.code == _NO_USER:
            return SourceRefusedError("the server does not have the user")
        # A server can send any type.
        code = error.code if isinstance(error.code, int) else "unknown"
        return SourceRefusedError(f"the server refuses, with the code {code}")
    if "certificate" in str(error).lower():
        return tls_failure()
    return SourceUnavailableError("the server cannot be reached")
