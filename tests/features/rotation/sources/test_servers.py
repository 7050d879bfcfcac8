"""Every real server as a source."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.features.rotation.conftest import SERVERS, World
from tests.features.rotation.servers import (
    ADMIN_PASSWORD,
    FIRST_PASSWORD,
    USERS,
    Server,
    certificate,
    own_folder,
)
from tests.support.waiting import wait_until
from vault.features.rotation.sources import mysql
from vault.features.rotation.sources.errors import SourceError, SourceRefusedError, SourceUnavailableError
from vault.features.rotation.sources.hosts import require_allowed
from vault.features.rotation.sources.opening import open_source
from vault.features.rotation.sources.source import SourceKind

pytestmark = pytest.mark.process


def opened(kind: str, url: str, seconds: int = 10) -> Any:
    """Return a source."""
    return open_source(SourceKind(kind), url, seconds=seconds, commands=())


@contextmanager
def connected(server: Server) -> Iterator[Any]:
    """Yield a cursor of the administrator, whom the server does not know as the service."""
    parts = urlsplit(server.url)
    user = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
    options: dict[str, Any] = {"dbname": "postgres"} if server.kind == "postgresql" else {}
    driver: Any = import_module("psycopg" if server.kind == "postgresql" else "pymysql")
    with driver.connect(**user, **options, autocommit=True) as connection, connection.cursor() as cursor:
        yield cursor


def test_a_password_rotates_and_no_log_has_it(world: World, server: Server) -> None:
    """Each rotation publishes a password of the other user, which logs in; no log of the server has one.

    The former one logs in until its last holder has got the new one, and then no more.
    """
    source = opened(server.kind, server.url)
    source.set_password(USERS[0], FIRST_PASSWORD.ljust(32, "-"))
    world.plan(server.kind, server.url, password=FIRST_PASSWORD.ljust(32, "-"))
    seen = [world.fetch_as(1)]
    for version in (2, 3, 4):
        assert world.run() == version
        now, former = world.fetch(), seen[-1]
        assert source.login(now["username"], now["password"])
        assert now["username"] != former["username"]
        assert now["host"] == "db.example"
        assert (world.act().holders, world.show().error) == (("app-1",), "")
        assert source.login(former["username"], former["password"])
        seen.append(world.fetch_as(1))
        assert (world.act().step, world.show().error) == (None, "")
        assert not source.login(former["username"], former["password"])
    logs = server.logs()
    assert logs
    assert [value for value in seen[1:] if value["password"].encode() in logs] == []


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_mariadb_behind_a_proxy_gets_no_password(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy greets with a version of its own, often MySQL's; the server's decides."""
    password = "behind-a-Proxy".ljust(32, "-")
    greet = mysql._Connection._get_server_information

    def greet_as_mysql(connection: Any) -> None:
        greet(connection)
        connection.server_version = "8.0.11"

    monkeypatch.setattr(mysql._Connection, "_get_server_information", greet_as_mysql)
    source = opened(server.kind, server.url)
    source.set_password(USERS[0], password)
    assert source.login(USERS[0], password)
    assert password.encode() not in server.logs()


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_mariadbs_password_policy_is_no_missing_user(server: Server) -> None:
    """A policy that refuses the password of an existing user is named as such; the password stays."""
    source, password = opened(server.kind, server.url), FIRST_PASSWORD.ljust(32, "-")
    for user in USERS:
        source.set_password(user, password)
    with connected(server) as cursor:
        cursor.execute("INSTALL SONAME 'simple_password_check'")
        try:
            for user in USERS:
                with pytest.raises(SourceRefusedError, match="strict_password_validation"):
                    source.set_password(user, "x" * 32)
            with pytest.raises(SourceRefusedError, match="does not have the user"):
                source.set_password("missing", "x" * 32)
            cursor.execute("SET GLOBAL strict_password_validation = OFF")
            source.set_password(USERS[1], "y" * 32)
        finally:
            cursor.execute("SET GLOBAL strict_password_validation = ON")
            cursor.execute("UNINSTALL SONAME 'simple_password_check'")
    assert source.login(USERS[0], password)
    assert source.login(USERS[1], "y" * 32)


def test_a_refusal_changes_nothing_and_quotes_nothing(server: Server) -> None:
    """Missing users, hostile names and wrong passwords are refused; users and passwords stay."""
    source = opened(server.kind, server.url)
    password = FIRST_PASSWORD.ljust(32, "-")
    source.set_password(USERS[0], password)
    for user in ("missing", "app_a' OR '1'='1", 'app_a"; DROP --', "app_a@%", "app_a >x on", "a\\", ""):
        with pytest.raises(SourceError) as refused:
            source.set_password(user, "hunter2-Password-".ljust(32, "-"))
        assert "hunter2" not in str(refused.value)
        assert not source.login(user, "hunter2")
    assert source.login(USERS[0], password)
    assert not source.login(USERS[0], "wrong")
    with pytest.raises(SourceRefusedError, match="refuses the administrator"):
        opened(server.kind, server.url.replace(ADMIN_PASSWORD, "wrong")).set_password(USERS[0], "x" * 32)


def test_rights_are_needed(server: Server) -> None:
    """A user without the right to change passwords is refused as an administrator."""
    source = opened(server.kind, server.url)
    password = FIRST_PASSWORD.ljust(32, "-")
    source.set_password(USERS[0], password)
    place = server.url.partition("@")[2]
    scheme = server.url.partition(":")[0]
    user = "guest:x" if scheme == "redis" else f"{USERS[0]}:{password}"
    weak = f"{scheme}://{user}@{place}"
    with pytest.raises(SourceRefusedError, match="may not"):
        opened(server.kind, weak).set_password(USERS[1], "x" * 32)


def test_a_wrong_certificate_is_refused(server: Server) -> None:
    """With the right certificate authority in the URL a login works, and with another one it is refused."""
    password = FIRST_PASSWORD.ljust(32, "-")
    opened(server.kind, server.url).set_password(USERS[0], password)
    assert opened(server.kind, f"{server.tls_url}{server.certificate}").login(USERS[0], password)
    with own_folder() as (folder, _):
        other = certificate(folder, "localhost")
        with pytest.raises(SourceRefusedError, match="TLS to the server fails"):
            opened(server.kind, f"{server.tls_url}{other}").login(USERS[0], password)


#: The number of the service's sessions, by the kind of the server.
_SESSIONS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'secret-manager'",
    "mysql": "SELECT count(*) - 1 FROM information_schema.processlist WHERE user = 'root_user'",
}


@pytest.mark.parametrize(
    "server", [name for name in SERVERS if name in ("postgresql", "mariadb", "mysql")], indirect=True
)
def test_a_process_that_hangs_before_a_change_does_not_make_it_later(server: Server) -> None:
    """PostgreSQL and MySQL end its session after the time of a step, which is shorter than its lease."""
    password = FIRST_PASSWORD.ljust(32, "-")
    opened(server.kind, server.url).set_password(USERS[0], password)
    source = opened(server.kind, server.url, seconds=60)
    # Without the limit for the whole, which a process that hangs does not see.
    if server.kind == "postgresql":
        source._source._seconds = 1
    else:
        source._source._options["read_timeout"] = 1

    def hang() -> None:
        with connected(server) as cursor:

            def is_ended() -> bool:
                cursor.execute(_SESSIONS[server.kind])
                [row] = cursor.fetchall()
                return bool(row[0] == 0)

            wait_until(is_ended)

    with pytest.raises(SourceUnavailableError):
        source.set_password(USERS[0], "x" * 32, hang)
    assert opened(server.kind, server.url).login(USERS[0], password)


@pytest.mark.parametrize("server", ["mariadb"], indirect=True)
def test_no_option_of_mysql_weakens_tls(server: Server) -> None:
    """Whichever options ask for TLS, an unknown certificate is refused, unless the URL says otherwise."""
    password = FIRST_PASSWORD.ljust(32, "-")
    opened("mysql", server.url).set_password(USERS[0], password)
    for options in ("ssl_verify_identity=true", "ssl_verify_cert=true", "ssl_disabled=false"):
        with pytest.raises(SourceRefusedError, match="TLS to the server fails"):
            opened("mysql", f"{server.url}?{options}").login(USERS[0], password)
    known = f"{server.tls_url}{server.certificate}"
    other_name = known.replace("127.0.0.1", "127.0.0.2").replace("?", "?ssl_verify_identity={}&")
    for good in (known, f"{server.url}?ssl_verify_cert=false", f"{server.url}?ssl_disabled=true"):
        assert opened("mysql", good).login(USERS[0], password)
    with pytest.raises(SourceRefusedError, match="TLS to the server fails"):
        opened("mysql", other_name.format("true")).login(USERS[0], password)
    assert opened("mysql", other_name.format("false")).login(USERS[0], password)


#: Variables of clients, with which a connection would go elsewhere, fail, or need no password.
VARIABLES = {
    "PGPASSWORD": FIRST_PASSWORD,
    "PGHOSTADDR": "192.0.2.1",
    "PGSSLROOTCERT": "/hunter2",
    "PGPORT": "1",
    "PGSERVICE": "hunter2",
    "PGSERVICEFILE": "/hunter2",
    "PGOPTIONS": "-c hunter2=1",
    "PGSSLMODE": "allow",
    "PGREQUIREAUTH": "none",
    "PGREQUIREPEER": "hunter2",
    "PGTARGETSESSIONATTRS": "standby",
    "MYSQL_PWD": FIRST_PASSWORD,
    "MYSQL_HOST": "192.0.2.1",
    "REDISCLI_AUTH": FIRST_PASSWORD,
}


def test_files_and_variables_of_the_service_have_no_effect(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the environment nor the home folder gives a password, a certificate, an option or a server."""
    password = FIRST_PASSWORD.ljust(32, "-")
    opened(server.kind, server.url).set_password(USERS[0], password)
    files = {
        ".pgpass": f"*:*:*:*:{password}\n",
        ".pg_service.conf": "[hunter2]\nhost=192.0.2.1\n",
        ".my.cnf": f"[client]\npassword={password}\nhost=192.0.2.1\n",
        ".mylogin.cnf": "hunter2",
        ".rediscli_auth": password,
    }
    files |= {f".postgresql/{name}": "hunter2" for name in ("postgresql.crt", "postgresql.key", "root.crt")}
    files[".postgresql/root.crl"] = server.certificate.read_text()
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        path.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    for url in (server.url, f"{server.tls_url}{server.certificate}"):
        for name, value in VARIABLES.items():
            monkeypatch.setenv(name, value.replace(FIRST_PASSWORD, password))
        source = opened(server.kind, url)
        assert source.login(USERS[0], password)
        assert not source.login(USERS[0], "")


@pytest.mark.parametrize("server", ["postgresql"], indirect=True)
@pytest.mark.parametrize(("mode", "works"), [("require", True), ("verify-ca", False), ("verify-full", False)])
def test_postgresql_verifies_with_the_file_of_the_url_only(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, works: bool
) -> None:
    """Without a file in the URL, an authority in the home folder verifies nothing."""
    opened("postgresql", server.url).set_password(USERS[0], FIRST_PASSWORD)
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql/root.crt").write_text(server.certificate.read_text())
    monkeypatch.setenv("HOME", str(tmp_path))
    source = opened("postgresql", f"{server.url}?sslmode={mode}")
    if works:
        (tmp_path / ".postgresql/root.crt").write_text("hunter2")
        assert source.login(USERS[0], FIRST_PASSWORD)
    else:
        with pytest.raises(SourceRefusedError, match="TLS to the server fails"):
            source.login(USERS[0], FIRST_PASSWORD)


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mongodb", "redis"])
def test_a_server_that_is_away_or_hangs_is_unavailable(kind: str) -> None:
    """A closed port, and a server that accepts and says nothing, are no refusals, and end in time."""
    for address in ("127.0.0.1:1", None):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            place = address or f"127.0.0.1:{silent.getsockname()[1]}"
            with pytest.raises(SourceUnavailableError):
                opened(kind, f"{kind}://a:b@{place}/", 2).login("a", "b")


#: Options with which a URL would use files of the service, and the forms that hide them.
FOREIGN_OPTIONS = {
    "postgresql": ["service=hunter2", "passfile=/hunter2", "sslkey=/hunter2", "sslkeylogfile=/hunter2"],
    "mysql": ["read_default_file=/hunter2", "ssl_cert=/hunter2", "ssl_key=/hunter2"],
    "mongodb": [
        *(
            "tlsCertificateKeyFile=/hunter2",
            "authMechanism=MONGODB-AWS",
            "w=1;tlsCertificateKeyFile=/hunter2",
        ),
        "appName=x#&tlsCertificateKeyFile=/hunter2",
    ],
    "redis": ["ssl_keyfile=/hunter2", "host=hunter2"],
}


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "[fe80::1]", "[::ffff:169.254.1.1]"])
@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "mongodb", "rediss"])
def test_metadata_services_are_out_of_reach(scheme: str, host: str) -> None:
    """No URL leads to a link-local address, however it is written."""
    with pytest.raises(SourceRefusedError, match="does not connect to link-local"):
        opened(scheme.removesuffix("s"), f"{scheme}://a:b@{host}/").login("a", "b")


def test_a_host_without_an_address_is_unavailable() -> None:
    """A name that cannot be one is not looked up by the driver."""
    require_allowed(["192.0.2.1", "127.0.0.1"])
    with pytest.raises(SourceUnavailableError, match="has no address"):
        opened("mysql", "mysql://a:b@a..b/").login("a", "b")


@pytest.mark.parametrize("kind", ["postgresql", "mysql", "mongodb", "redis"])
def test_an_invalid_url_is_not_quoted(kind: str) -> None:
    """The error does not contain the administrator's secret; also what no URL can have is a refusal."""
    urls = ["hunter2", "hunter2://hunter2", f"{kind}://a:b@hunter2:port/?x"]
    # PostgreSQL's library looks neither up before it connects.
    if kind != "postgresql":
        urls += [f"{kind}://[hunter2", f"{kind}://a:hunter2℀@h/"]
    urls += {
        "mysql": ["mysql://a:b@h/?ssl_ca=/hunter2"],
        "mongodb": ["mongodb://a:b@h/?tlsCAFile=/hunter2"],
    }.get(kind, [])
    urls += [f"{kind}://a:b@h/?{option}" for option in FOREIGN_OPTIONS[kind]]
    for url in urls:
        with pytest.raises(SourceRefusedError) as refused:
            opened(kind, url)
        assert "hunter2" not in str(refused.value)
