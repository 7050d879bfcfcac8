"""PostgreSQL as a source."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.features.rotation import servers
from tests.features.rotation.servers import FIRST_PASSWORD, USERS, Server
from vault.features.rotation.sources import postgresql as module
from vault.features.rotation.sources.errors import SourceError, SourceRefusedError, SourceUnavailableError
from vault.features.rotation.sources.postgresql import NO_FILE, PostgreSQL, _failure, _refusal

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    """Run PostgreSQL."""
    with servers.postgresql() as server:
        yield server


def test_a_refusal_says_why_and_changes_nothing(postgresql: Server) -> None:
    """A missing user, no rights, hostile names, wrong passwords and certificates: each has its own reason."""
    source = PostgreSQL(postgresql.url, 60)
    source.set_password(USERS[0], FIRST_PASSWORD)
    for user in ("missing", 'app_a" SUPERUSER; --', "app_a' --", "a\x00b"):
        with pytest.raises(SourceError):
            source.set_password(user, "hunter2-Password")
    with pytest.raises(SourceRefusedError, match="does not have the user"):
        source.set_password("missing", "hunter2-Password")
    assert source.login(USERS[0], FIRST_PASSWORD)
    assert not source.login(USERS[0], "wrong")
    assert not source.login("missing", "wrong")
    for change in (source.set_password, source.login):
        with pytest.raises(SourceRefusedError, match="more than 63 bytes"):
            change("é" * 32, "hunter2-Password")
    place = postgresql.url.partition("@")[2]
    weak = PostgreSQL(f"postgresql://{USERS[0]}:{FIRST_PASSWORD}@{place}", 60)
    with pytest.raises(SourceRefusedError, match="may not change the user's password"):
        weak.set_password(USERS[1], "hunter2-Password")
    with pytest.raises(SourceRefusedError, match="refuses the administrator"):
        PostgreSQL(f"postgresql://root_user:wrong@{place}", 60).set_password(USERS[0], "x")
    assert b"hunter2" not in postgresql.logs()


def test_a_server_without_a_timeout_for_idle_sessions_rotates(
    postgresql: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL 13 does not get the setting, which it would refuse."""
    monkeypatch.setattr(module, "_IDLE_TIMEOUT_SINCE", 1_000_000)
    source, before = PostgreSQL(postgresql.url, 60), postgresql.logs().count(b"idle_session_timeout")
    source.set_password(USERS[0], FIRST_PASSWORD)
    assert source.login(USERS[0], FIRST_PASSWORD)
    assert postgresql.logs().count(b"idle_session_timeout") == before


@pytest.mark.parametrize(
    ("url", "mode", "authorities"),
    [
        ("postgresql://a:b@db.example/c", "verify-full", "system"),
        ("postgresql://a:b@db.example/c?sslrootcert=/ca.pem", "verify-full", "/ca.pem"),
        ("postgresql://a:b@db.example/c?sslmode=require", "require", NO_FILE),
        ("postgresql://a:b@localhost?sslrootcert=/ca.pem", "verify-full", "/ca.pem"),
        ("postgresql://a:b@[::1],%2Frun/c", None, NO_FILE),
    ],
)
def test_tls_verifies_the_server_unless_the_url_says_otherwise(
    url: str, mode: str | None, authorities: str | None
) -> None:
    """Only a server on this machine needs no TLS."""
    options = PostgreSQL(url, 5)._options
    assert (options.get("sslmode"), options.get("sslrootcert")) == (mode, authorities)


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (psycopg.errors.QueryCanceled("hunter2"), SourceUnavailableError, "in time"),
        (psycopg.OperationalError("hunter2"), SourceUnavailableError, "connection to the server was lost"),
        (psycopg.errors.ReadOnlySqlTransaction("hunter2"), SourceRefusedError, "with the code 25006"),
    ],
)
def test_a_failed_change_is_not_quoted(error: psycopg.Error, kind: type[Exception], text: str) -> None:
    """PostgreSQL's messages repeat statements; the reason has its code at most."""
    found = _refusal(error)
    assert isinstance(found, kind)
    assert text in str(found)
    assert "hunter2" not in str(found)


@pytest.mark.parametrize(
    "text",
    [
        "FATAL: sorry, too many clients already",
        "FATAL: remaining connection slots are reserved for roles with the SUPERUSER attribute",
        "FATAL: the database system is in recovery mode",
        "FATAL: the database system is not yet accepting connections",
        "FATAL: terminating connection due to administrator command",
        "FATAL: something new",
        "server closed the connection unexpectedly",
    ],
)
def test_a_full_or_restarting_server_is_unavailable(text: str) -> None:
    """A refusal that is not about the password is not taken for one, also after the password was sent."""
    assert isinstance(_failure(psycopg.OperationalError(text), is_admin=False), SourceUnavailableError)


def test_a_right_password_is_never_taken_for_a_wrong_one(postgresql: Server) -> None:
    """A missing or closed database, and a full one, are unavailable; a locked user is refused."""
    admin = PostgreSQL(postgresql.url, 60)
    admin.set_password(USERS[0], FIRST_PASSWORD)
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
        for name, reason in (("missing", "does not have the database"), ("closed", "accepts no connections")):
            with pytest.raises(SourceUnavailableError, match=reason):
                PostgreSQL(postgresql.url.replace("/postgres", f"/{name}"), 60).login(
                    USERS[0], FIRST_PASSWORD
                )
        connection.execute(f"ALTER ROLE {USERS[0]} CONNECTION LIMIT 0")
        with pytest.raises(SourceUnavailableError, match="too many connections"):
            admin.login(USERS[0], FIRST_PASSWORD)
        connection.execute(f"ALTER ROLE {USERS[0]} CONNECTION LIMIT -1 NOLOGIN")
        assert not admin.login(USERS[0], FIRST_PASSWORD)
        connection.execute(f"ALTER ROLE {USERS[0]} LOGIN")
    assert not admin.login("too many", "wrong")
    assert admin.login(USERS[0], FIRST_PASSWORD)


def test_two_threads_forget_the_same_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that another thread has just removed is no error."""

    class Emptied(dict[str, str]):
        def __iter__(self) -> Iterator[str]:
            names = list(super().keys())
            self.clear()
            return iter(names)

    monkeypatch.setattr(module.os, "environ", Emptied(PGHOST="db.example"))
    module._forget_variables()
