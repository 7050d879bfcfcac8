"""The source `postgresql`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from vault.rotation.sources.errors import SourceRefusedError, SourceUnavailableError
from vault.rotation.sources.hosts import is_this_machine

#: Texts of PostgreSQL's refusals of a connection that are not about the password. libpq does not pass on
#: the code of an error that comes before a connection exists.
_OTHER_REFUSALS = (
    ("too many", "the server has too many connections"),
    ("permission denied for database", "the user may not connect to the database of the URL"),
    ("pg_hba.conf", "the server does not accept the user from this machine"),
    ("starting up", "the server is starting"),
    ("shutting down", "the server is shutting down"),
)


class PostgreSQL:
    """A PostgreSQL server. Verifiers are computed here, so that no log of the server has a password."""

    def __init__(self, url: str, seconds: int) -> None:
        """Connect as the *url* says, in the form of libpq, within *seconds*.

        Raises:
            SourceRefusedError: The URL is not valid.
        """
        try:
            options = conninfo_to_dict(url.strip())
        except (psycopg.Error, ValueError):
            # The text quotes the URL.
            raise SourceRefusedError("the administrator's secret is not a URL of PostgreSQL") from None
        if "sslmode" not in options and not _is_local(options):
            # libpq's default does not verify the server.
            options["sslmode"] = "verify-full"
            options.setdefault("sslrootcert", "system")
        options["dbname"] = options.get("dbname") or "postgres"
        self._options: dict[str, str] = {
            **{name: str(value) for name, value in options.items()},
            "connect_timeout": str(max(seconds, 2)),
            "options": f"{options.get('options', '')} -c statement_timeout={1_000 * seconds}".strip(),
            "tcp_user_timeout": str(1_000 * seconds),
            "application_name": "secret-manager",
        }

    def set_password(self, user: str, password: str) -> None:
        """As `Source`."""
        with self._connected({}) as connection:
            verifier = connection.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256")
            change = sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                sql.Identifier(user), sql.Literal(verifier.decode())
            )
            try:
                connection.execute(change)
            except psycopg.Error as error:
                # The text quotes the statement.
                raise _refusal(error) from None

    def login(self, user: str, password: str) -> bool:
        """As `Source`."""
        try:
            with self._connected({"user": user, "password": password}):
                return True
        except _WrongPasswordError:
            return False

    def close(self, user: str, password: str) -> None:
        """As `Source`."""
        self.set_password(user, password)

    @contextmanager
    def _connected(self, credential: dict[str, str]) -> Iterator[psycopg.Connection[Any]]:
        try:
            connection = psycopg.connect(make_conninfo(**self._options | credential), autocommit=True)
        except psycopg.Error as error:
            raise _failure(error, is_admin=not credential) from None
        with connection:
            yield connection


class _WrongPasswordError(SourceRefusedError):
    """The server does not accept the password."""


def _is_local(options: dict[str, Any]) -> bool:
    """Return whether the server is on this machine, and no certificate is asked for."""
    hosts = [*str(options.get("host", "")).split(","), *str(options.get("hostaddr", "")).split(",")]
    is_local = all(map(is_this_machine, hosts))
    return is_local and "sslrootcert" not in options


def _failure(error: psycopg.Error, *, is_admin: bool) -> SourceRefusedError | SourceUnavailableError:
    """Return the reason why there is no connection."""
    text = str(error).lower()
    for part, reason in _OTHER_REFUSALS:
        if part in text:
            return SourceUnavailableError(reason)
    if any(part in text for part in ("certificate", "ssl error", "support ssl")):
        return SourceRefusedError(
            "TLS to the server fails: check its certificate, and the options of the URL"
        )
    if "fatal:" in text or (error.pgconn is not None and error.pgconn.used_password):
        if is_admin:
            return SourceRefusedError("the server refuses the administrator's user or password")
        return _WrongPasswordError("the server refuses the user or the password")
    return SourceUnavailableError("the server cannot be reached")


def _refusal(error: psycopg.Error) -> SourceRefusedError | SourceUnavailableError:
    if isinstance(error, errors.InsufficientPrivilege):
        return SourceRefusedError("the administrator may not change the user's password")
    if isinstance(error, errors.UndefinedObject):
        return SourceRefusedError("the server does not have the user")
    if isinstance(error, errors.QueryCanceled):
        return SourceUnavailableError("the server does not answer in time")
    if error.sqlstate is None:
        return SourceUnavailableError("the connection to the server was lost")
    return SourceRefusedError(f"the server refuses the change, with the code {error.sqlstate}")
