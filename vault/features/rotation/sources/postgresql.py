"""The source `postgresql`."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from vault.features.rotation.sources.authorities import require_file
from vault.features.rotation.sources.errors import (
    SourceRefusedError,
    SourceUnavailableError,
    tls_failure,
    wrong_password,
)
from vault.features.rotation.sources.hosts import is_this_machine, require_allowed
from vault.features.rotation.sources.source import Confirm, Server, unconditionally

#: Options of libpq that a URL can have. Others name files, or services in files.
_OPTIONS = frozenset(
    {
        *("host", "hostaddr", "port", "dbname", "user", "password", "options", "application_name"),
        *("sslmode", "sslrootcert", "sslnegotiation", "ssl_min_protocol_version", "channel_binding"),
        *("require_auth", "target_session_attrs", "load_balance_hosts", "connect_timeout"),
    }
)

#: The beginning of the names of libpq's variables: each one is the default of an option, or names a file.
_VARIABLES = "PG"
#: A path that no file has. libpq otherwise looks for these in the home folder.
NO_FILE = "/dev/null/none"
_NO_FILES = dict.fromkeys(("passfile", "sslcert", "sslcrl"), NO_FILE)

_INVALID = "the administrator's secret is not a URL of PostgreSQL, or has an option that is not supported"

#: Texts of PostgreSQL's refusals of a connection that are not about the password. libpq does not pass on
#: the code of an error that comes before a connection exists.
_OTHER_REFUSALS = (
    ("remaining connection slots", "the server has too many connections"),
    ("recovery mode", "the server is starting"),
    ("not yet accepting connections", "the server is starting"),
    ("terminating connection", "the server is shutting down"),
    ("database  does not exist", "the server does not have the database of the URL"),
    ("database  is not currently accepting", "the database of the URL accepts no connections"),
    ("too many", "the server has too many connections"),
    ("permission denied for database", "the user may not connect to the database of the URL"),
    ("pg_hba.conf", "the server does not accept the user from this machine"),
    ("starting up", "the server is starting"),
    ("shutting down", "the server is shutting down"),
)

#: Texts of refusals of a user, also without a password.
_REFUSALS = (
    *("authentication failed", "no password supplied"),
    *("role  does not exist", "role  is not permitted to log in"),
)

#: The version of PostgreSQL that has `idle_session_timeout`, as the driver writes it.
_IDLE_TIMEOUT_SINCE = 140_000

_MAX_NAME_BYTES = 63

_QUOTED = re.compile('"[^"]*"')


class PostgreSQL(Server):
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
            raise SourceRefusedError(_INVALID) from None
        if options.keys() - _OPTIONS:
            raise SourceRefusedError(_INVALID)
        if "sslmode" not in options and not _is_local(options):
            # libpq's default does not verify the server.
            options["sslmode"] = "verify-full"
        # Only this mode can use the authorities of the system.
        is_verified = options.get("sslmode") == "verify-full"
        options.setdefault("sslrootcert", "system" if is_verified else NO_FILE)
        self._seconds = seconds
        options["dbname"] = options.get("dbname") or "postgres"
        self._options: dict[str, str] = {
            **{name: str(value) for name, value in options.items()},
            "connect_timeout": str(max(seconds, 2)),
            "options": f"{options.get('options', '')} -c statement_timeout={1_000 * seconds}".strip(),
            "tcp_user_timeout": str(1_000 * seconds),
            "application_name": "secret-manager",
            "gssencmode": "disable",
            **_NO_FILES,
        }

    def set_password(self, user: str, password: str, confirm: Confirm = unconditionally) -> None:
        """As `Source`."""
        _require_name(user)
        with self._connected({}) as connection:
            verifier = connection.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256")
            change = sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                sql.Identifier(user), sql.Literal(verifier.decode())
            )
            try:
                if connection.info.server_version >= _IDLE_TIMEOUT_SINCE:
                    # If this process hangs after the confirmation, the server ends the session.
                    connection.execute(sql.SQL("SET idle_session_timeout = {}").format(1_000 * self._seconds))
                confirm()
                connection.execute(change)
            except psycopg.Error as error:
                # The text quotes the statement.
                raise _refusal(error) from None

    def login(self, user: str, password: str) -> bool:
        """As `Source`."""
        _require_name(user)
        return super().login(user, password)

    @contextmanager
    def _connected(self, credential: dict[str, str]) -> Iterator[psycopg.Connection[Any]]:
        require_allowed(_hosts(self._options))
        require_file(self._options["sslrootcert"])
        _forget_variables()
        try:
            connection = psycopg.connect(make_conninfo(**self._options | credential), autocommit=True)
        except psycopg.Error as error:
            raise _failure(error, is_admin=not credential) from None
        with closing(connection):
            yield connection


def _require_name(user: str) -> None:
    """Require that the server does not shorten a name: it could be that of the user in use.

    Raises:
        SourceRefusedError: It does.
    """
    if len(user.encode()) > _MAX_NAME_BYTES:
        raise SourceRefusedError(f"a user's name has more than {_MAX_NAME_BYTES} bytes")


def _forget_variables() -> None:
    """Remove libpq's variables from the environment. No option can do so: one of them names a service."""
    for name in [name for name in os.environ if name.startswith(_VARIABLES)]:
        # Another thread may have removed it.
        os.environ.pop(name, None)


def _is_local(options: dict[str, Any]) -> bool:
    """Return whether the server is on this machine, and no certificate is asked for."""
    return all(map(is_this_machine, _hosts(options))) and "sslrootcert" not in options


def _hosts(options: Mapping[str, Any]) -> list[str]:
    return [*str(options.get("host", "")).split(","), *str(options.get("hostaddr", "")).split(",")]


def _failure(error: psycopg.Error, *, is_admin: bool) -> SourceRefusedError | SourceUnavailableError:
    """Return the reason why there is no connection."""
    # Without names, which can contain any text.
    text = _QUOTED.sub("", str(error).lower())
    for part, reason in _OTHER_REFUSALS:
        if part in text:
            return SourceUnavailableError(reason)
    if any(part in text for part in ("certificate", "ssl error", "support ssl")):
        return tls_failure()
    # The server can have messages in another language; those of a lost connection come from libpq.
    is_of_server = "fatal" in text or not text.isascii()
    is_used = error.pgconn is not None and error.pgconn.used_password
    if any(part in text for part in _REFUSALS) or (is_of_server and is_used):
        return wrong_password(is_admin=is_admin)
    return SourceUnavailableError("the server cannot be reached")


def _refusal(error: psycopg.Error) -> SourceRefusedError | SourceUnavailableError:
    if isinstance(error, errors.InsufficientPrivilege):
        return SourceRefusedError("the administrator may not change the user's password")
    if isinstance(error, errors.UndefinedObject):
        return SourceRefusedError("the server does not have the user")
    if isinstance(error, errors.QueryCanceled):
        return SourceUnavailableError("the server does not answer in time")
    if error.sqlstate is None or isinstance(error, errors.IdleSessionTimeout):
        return SourceUnavailableError("the connection to the server was lost")
    return SourceRefusedError(f"the server refuses the change, with the code {error.sqlstate}")
