"""The source `redis`: Redis and Valkey, with their ACLs in a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from vault.features.rotation.sources.authorities import require_file
from vault.features.rotation.sources.errors import (
    SourceRefusedError,
    SourceUnavailableError,
    tls_failure,
    wrong_password,
)
from vault.features.rotation.sources.hosts import is_this_machine, require_allowed
from vault.features.rotation.sources.limits import LimitedSocket
from vault.features.rotation.sources.source import Confirm, Server, unconditionally

#: Options of the driver that a URL can have. Others name files, or hosts besides the one of the URL.
_OPTIONS = frozenset({"db", "ssl_ca_certs", "ssl_cert_reqs", "ssl_check_hostname"})

_INVALID = "the administrator's secret is not a URL of Redis, or has an option that is not supported"


class Redis(Server):
    """A Redis or Valkey server. It gets the SHA-256 of a password only."""

    def __init__(self, url: str, seconds: int) -> None:
        """Connect as the *url* says, in the form of the driver, within *seconds*.

        Raises:
            SourceRefusedError: The URL is not valid.
        """
        self._url = url.strip()
        self._options: dict[str, Any] = {
            "socket_timeout": seconds,
            "socket_connect_timeout": seconds,
            "retry": Retry(NoBackoff(), 0),
            # By the third version, a server can send the driver to another address.
            "protocol": 2,
        }
        try:
            parts = urlsplit(self._url)
            self._pooled({}).close()
        except (OSError, TypeError, ValueError):
            # The text can quote the URL.
            raise SourceRefusedError(_INVALID) from None
        given = parse_qs(parts.query)
        if given.keys() - _OPTIONS:
            raise SourceRefusedError(_INVALID)
        for path in given.get("ssl_ca_certs", ()):
            require_file(path)
        self._host = parts.hostname or ""
        if parts.scheme == "redis" and not is_this_machine(self._host):
            raise SourceRefusedError("a URL redis:// leads to another machine without TLS: use rediss://")

    def set_password(self, user: str, password: str, confirm: Confirm = unconditionally) -> None:
        """As `Source`: also in the ACL file, so that it survives a restart."""
        digest = sha256(password.encode()).hexdigest()
        with self._connected({}) as client:
            # Redis would create a missing user.
            if client.execute_command("ACL", "GETUSER", user) is None:
                raise SourceRefusedError("the server does not have the user")
            confirm()
            client.execute_command("ACL", "SETUSER", user, "resetpass", f"#{digest}")
            client.execute_command("ACL", "SAVE")

    def _pooled(self, credential: dict[str, str]) -> Any:
        pool = redis.ConnectionPool.from_url(self._url, **self._options)
        # The URL's own would take precedence.
        if credential:
            pool.connection_kwargs.update(username=credential["user"], password=credential["password"])
        pool.connection_class = _limited(pool.connection_class)
        return redis.Redis.from_pool(pool)

    @contextmanager
    def _connected(self, credential: dict[str, str]) -> Iterator[Any]:
        require_allowed([self._host])
        with self._pooled(credential) as client:
            try:
                # Connects, and so authenticates. Whether the user may do more does not matter.
                connection = client.connection_pool.get_connection()
                client.connection_pool.release(connection)
                yield client
            except exceptions.RedisError as error:
                # The text can quote the command.
                raise _failure(error, is_admin=not credential) from None


def _limited(kind: Any) -> Any:
    """Return *kind*, a class of connections, with a limit: the driver takes ever longer for a long line."""

    class Limited(kind):
        def _connect(self) -> Any:
            return LimitedSocket(super()._connect())

    return Limited


def _failure(error: Exception, *, is_admin: bool) -> SourceRefusedError | SourceUnavailableError:
    text = str(error).lower()
    if isinstance(error, exceptions.NoPermissionError):
        return SourceRefusedError("the administrator may not use ACL GETUSER, SETUSER and SAVE")
    if isinstance(error, exceptions.AuthenticationError) or "wrongpass" in text:
        return wrong_password(is_admin=is_admin)
    if "acl file" in text:
        return SourceRefusedError("the server has no ACL file, so a restart would undo the change")
    if "certificate" in text or "ssl" in text:
        return tls_failure()
    if isinstance(error, exceptions.ResponseError):
        return SourceRefusedError("the server refuses the command")
    return SourceUnavailableError("the server cannot be reached")
