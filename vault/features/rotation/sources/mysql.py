"""The source `mysql`: MySQL and MariaDB."""

import ssl
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from hashlib import sha1
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pymysql
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from vault.features.rotation.sources.authorities import require_file
from vault.features.rotation.sources.errors import (
    SourceRefusedError,
    SourceUnavailableError,
    tls_failure,
    wrong_password,
)
from vault.features.rotation.sources.hosts import is_this_machine, require_allowed
from vault.features.rotation.sources.limits import Received, TooMuchError
from vault.features.rotation.sources.source import Confirm, Server, unconditionally

#: Options of the driver that a URL can have. Others name the service's own files.
_TEXTS = frozenset({"ssl_ca", "unix_socket"})
_FLAGS = frozenset({"ssl_disabled", "ssl_verify_cert", "ssl_verify_identity"})
#: Those that ask for TLS.
_TLS = (_TEXTS | _FLAGS) - {"unix_socket", "ssl_disabled"}
_TRUE = ("1", "true", "yes", "on")

_PORT = 3_306

#: The server's codes for a wrong user or password, a user that may not do this, and a missing user, which
#: MariaDB also sends for every failed change of an existing one.
_WRONG_PASSWORD = frozenset({1045, 1698})
_NO_RIGHTS = frozenset({1044, 1142, 1227})
_NO_USER = 1396
#: An option of the server forbids the statement, here that of MariaDB's which refuses hashes of passwords.
_OPTION = 1290
_STRICT = "strict-password-validation"
#: Codes of the server and of the driver for a connection that is not possible now, or was lost.
_UNAVAILABLE = frozenset({1040, 1053, 1203, 1226, 2003, 2006, 2013, 4031})
_LOST = 2013
#: A password that the policy of the server does not allow, or that has to be replaced first.
_POLICY = frozenset({1819, 1820, 1862, 1873})


class _Connection(pymysql.Connection):
    """A connection whose server cannot fill the memory: the driver reads packets of any size."""

    def __init__(self, **options: Any) -> None:
        self._received = Received()
        super().__init__(**options)

    def _read_bytes(self, num_bytes: int) -> Any:
        try:
            self._received.add(num_bytes)
        except TooMuchError as error:
            self._force_close()
            raise pymysql.err.OperationalError(_LOST, str(error)) from None
        return super()._read_bytes(num_bytes)


class MySQL(Server):
    """A MySQL or MariaDB server. Of MariaDB, which logs statements as they are, it gets the hash only."""

    def __init__(self, url: str, seconds: int) -> None:
        """Connect as the *url* says, `mysql://user:password@host:port/?ssl_ca=…`, within *seconds*.

        Raises:
            SourceRefusedError: The URL is not valid.
        """
        try:
            parts = urlsplit(url.strip())
            port = parts.port or _PORT
            given = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        except ValueError:
            raise SourceRefusedError(_INVALID) from None
        if parts.scheme not in ("mysql", "mariadb") or not parts.username or given.keys() - _TEXTS - _FLAGS:
            raise SourceRefusedError(_INVALID)
        host = parts.hostname or "localhost"
        flags = {name: given[name].lower() in _TRUE for name in _FLAGS & given.keys()}
        is_local = "unix_socket" in given or is_this_machine(host)
        options: dict[str, Any] = {"unix_socket": given["unix_socket"]} if "unix_socket" in given else {}
        if flags.get("ssl_disabled", is_local and not given.keys() & _TLS):
            options["ssl_disabled"] = True
        else:
            options["ssl"] = _context(given, flags)
        self._hosts = [] if "unix_socket" in given else [host]
        self._options = {
            "host": host,
            "port": port,
            "connect_timeout": seconds,
            "read_timeout": seconds,
            "write_timeout": seconds,
            "autocommit": True,
            **options,
        }
        self._admin = {"user": unquote(parts.username), "password": unquote(parts.password or "")}

    def set_password(self, user: str, password: str, confirm: Confirm = unconditionally) -> None:
        """As `Source`: of the user at each of its hosts."""
        with self._connected(self._admin) as connection, connection.cursor() as cursor:
            try:
                cursor.execute("SELECT Host, plugin FROM mysql.user WHERE User = %s", [user])
                accounts = cursor.fetchall()
                if not accounts:
                    raise SourceRefusedError("the server does not have the user")
                # Not the greeting's, which is that of a proxy.
                cursor.execute("SELECT VERSION()")
                is_mariadb = "MariaDB" in str(cursor.fetchone())
                # If this process hangs after the confirmation, the server ends the session.
                cursor.execute("SET SESSION wait_timeout = %s", [self._options["read_timeout"]])
                confirm()
                for host, plugin in accounts:
                    _execute(cursor, *_change(user, host, plugin, password, is_mariadb=is_mariadb))
            except pymysql.Error as error:
                # The text can quote the statement.
                raise _failure(error, is_admin=True) from None

    @contextmanager
    def _connected(self, credential: dict[str, str]) -> Iterator[Any]:
        require_allowed(self._hosts)
        try:
            connection = _Connection(**self._options, **credential)
        except (pymysql.Error, OSError, RuntimeError) as error:
            raise _failure(error, is_admin=credential is self._admin) from None
        with closing(connection):
            yield connection


_INVALID = "the administrator's secret is not a URL of MySQL, or has an option that is not supported"


def _context(given: Mapping[str, str], flags: Mapping[str, bool]) -> ssl.SSLContext:
    """Return the options of TLS. The driver's own would not verify the server with each of them.

    Raises:
        SourceRefusedError: A file cannot be used.
    """
    require_file(given.get("ssl_ca"))
    try:
        context = ssl.create_default_context(cafile=given.get("ssl_ca"))
    except (OSError, ValueError):
        raise SourceRefusedError("the file ssl_ca of the URL is not a certificate") from None
    # As the driver does: certificates of private authorities often lack extensions.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    is_verified = flags.get("ssl_verify_cert", True)
    context.check_hostname = flags.get("ssl_verify_identity", is_verified)
    if not is_verified and not context.check_hostname:
        context.verify_mode = ssl.CERT_NONE
    return context


def _change(user: str, host: str, plugin: str, password: str, *, is_mariadb: bool) -> tuple[str, list[str]]:
    """Return the statement and its arguments, which the driver quotes."""
    if not is_mariadb:
        # MySQL itself hides passwords from its logs.
        return "ALTER USER %s@%s IDENTIFIED BY %s", [user, host, password]
    if plugin == "ed25519":
        # MariaDB's key is that of the password as a seed, of any length. Ours has the length of a seed.
        seed = Ed25519PrivateKey.from_private_bytes(password.encode())
        verifier = b64encode(seed.public_key().public_bytes_raw()).decode().rstrip("=")
    else:
        plugin = "mysql_native_password"
        inner = sha1(password.encode()).digest()  # noqa: S324 - as the server hashes
        verifier = "*" + sha1(inner).hexdigest().upper()  # noqa: S324 - as the server hashes
    return f"ALTER USER %s@%s IDENTIFIED VIA {plugin} USING %s", [user, host, verifier]


def _execute(cursor: Any, statement: str, arguments: list[str]) -> None:
    """Change an existing user; raise the reason of a failure, and not MariaDB's code for all of them."""
    try:
        cursor.execute(statement, arguments)
    except pymysql.Error as error:
        cursor.execute("SHOW WARNINGS")
        reasons = [row[1:] for row in cursor.fetchall() if row[0] == "Error" and row[1] != _NO_USER]
        raise pymysql.err.OperationalError(*next(iter(reasons), error.args)) from None


def _failure(error: Exception, *, is_admin: bool) -> SourceRefusedError | SourceUnavailableError:
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if code in _WRONG_PASSWORD:
        return wrong_password(is_admin=is_admin)
    if code in _NO_RIGHTS:
        return SourceRefusedError("the administrator may not change the user's password")
    if code == _NO_USER:
        return SourceRefusedError("the server does not have the user, or the administrator may not change it")
    if code == _OPTION and _STRICT in str(error):
        return SourceRefusedError(
            "the server's policy accepts no hash of a password: its strict_password_validation is on"
        )
    if code in _POLICY:
        return SourceRefusedError("the server's policy refuses the password, or the user must change it")
    if "certificate" in str(error).lower() or "ssl" in str(error).lower():
        return tls_failure()
    if code in _UNAVAILABLE or not code:
        return SourceUnavailableError("the server cannot be reached")
    return SourceRefusedError(f"the server refuses, with the code {code}")
