"""The operators' commands for tokens."""

import errno
import json
import re
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest

from tests.conftest import running_app, start
from tests.support.access import bearer, make_token
from tests.support.commands import Done, invoke
from tests.support.creations import create_all
from tests.support.rotation import Stored, new_key, settings, table, text
from tests.support.trail import block_trail
from tests.support.waiting import wait_until
from vault.common.timestamps import moment
from vault.core.access.tokens.info import TokenInfo
from vault.core.crypto.token import is_token
from vault.core.principal import ROLES
from vault.toolkit.cli.output import Output
from vault.toolkit.cli.token_options import COLUMNS

Run = Callable[..., Done]
KEY, NEW = new_key(), new_key()
EVERYWHERE = "; refused everywhere within 5 seconds\n"


@pytest.fixture
def tokens(mongo_uri: str, tmp_path: Path) -> Run:
    """Return a function that runs `secret-manager tokens`."""

    def run(*arguments: str, environment: dict[str, str] | None = None) -> Done:
        environment = settings(mongo_uri, KEY) if environment is None else environment
        return invoke("tokens", *arguments, environment=environment, folder=tmp_path)

    return run


def test_the_first_token_is_created_here(tokens: Run, mongo_uri: str, stored: Stored) -> None:
    """`create` prints only the token, which a service accepts, and leaves an entry."""
    done = tokens("create", "--name", "boss", "--role", "admin")
    assert (done.returncode, done.stderr) == (0, "")
    token = done.stdout.removesuffix("\n")
    assert is_token(token)
    with running_app({**settings(mongo_uri, KEY), "AUTH_ENABLED": "true"}) as app:
        client = app.test_client()
        assert client.post("/vault/token/list", json={}).status_code == 401
        assert client.post("/vault/token/list", json={}, headers=bearer(token)).status_code == 200
    entry = stored.audit_logs.find_one({"action": "token_create"})
    assert entry is not None
    assert (entry["principal"], entry["status"], entry["details"]["token"]) == ("operator", "success", "boss")
    assert stored["keys"].find_one("claims")["workers"] == []


def test_a_token_with_every_option(tokens: Run) -> None:
    """`create` accepts scopes, namespace, networks, paths and lifetime; `list` shows them, not the token."""
    done = tokens(
        *("create", "--name", "ci", "--scope", "secret:fetch", "--scope", "secret:create"),
        *("--namespace", "team-a", "--network", "10.0.0.0/8", "--network", "::1", "--expires-in", "3600"),
        *("--path", "shared/db", "--path", "billing/"),
    )
    assert done.returncode == 0, done.stderr
    listed = tokens("list")
    assert (listed.returncode, listed.stderr) == (0, "")
    heading, row, *_ = listed.stdout.splitlines()
    assert heading.split() == [
        *("name", "state", "namespace", "scopes", "limited", "to", "created", "expires"),
    ]
    assert row.split()[:2] == ["ci", "active"]
    assert max(map(len, listed.stdout.splitlines())) <= 100
    as_json = tokens("list", "--json")
    [found] = map(json.loads, as_json.stdout.splitlines())
    assert found["namespace"] == "team-a"
    assert found["scopes"] == ["secret:create", "secret:fetch"]
    assert found["networks"] == ["10.0.0.0/8", "::1/128"]
    assert found["paths"] == ["billing/", "shared/db"]
    assert (found["created_by"], found["last_used_at"]) == ("operator", None)
    assert done.stdout.strip() not in listed.stdout + as_json.stdout


def test_a_list_says_who_sees_the_entries_of_all_namespaces(tokens: Run) -> None:
    """`create --all-namespaces` makes a token for the entries of all; `list` says which ones are."""
    for options in (["own"], ["all", "--all-namespaces"]):
        done = tokens("create", "--role", "auditor", "--namespace", "team-a", "--name", *options)
        assert done.returncode == 0, done.stderr
    tokens("create", "--role", "auditor", "--name", "default")
    lines = [line.split() for line in tokens("list").stdout.splitlines()]
    assert [line[0] for line in lines if "all" in line[3:]] == ["all"]
    listed = map(json.loads, tokens("list", "--json").stdout.splitlines())
    assert {token["name"]: token["all_namespaces"] for token in listed} == {
        "own": False,
        "all": True,
        "default": True,
    }
    done = tokens("create", "--name", "x", "--role", "reader", "--all-namespaces")
    assert (done.returncode, done.stdout) == (4, "")


def test_display_describes_the_token_beside_it(tokens: Run, stored: Stored) -> None:
    """With `--display`, standard error describes the new token, and standard output has the token alone.

    A renewable token has the lifetime and longest age that its options say, in any unit.
    """
    done = tokens(
        *("create", "--name", "ci", "--role", "reader", "--network", "10.0.0.0/8"),
        *("--expires-in", "12h", "--renewable", "--max-age", "13w", "--display"),
    )
    assert done.returncode == 0
    assert is_token(done.stdout.removesuffix("\n"))
    assert done.stdout.strip() not in done.stderr
    shown = dict(re.split(": +", line) for line in done.stderr.splitlines())
    assert (shown["name"], shown["namespace"], shown["networks"]) == ("ci", "default", "10.0.0.0/8")
    assert shown["scopes"] == "secret:describe secret:fetch secret:list"
    assert shown["expires"] < shown["renewable until"]
    [token] = stored.tokens.find()
    assert token["expires_at"] - token["created_at"] == timedelta(hours=12)
    assert token["renewable_until"] - token["created_at"] == timedelta(weeks=13)
    assert token["renewal_seconds"] == 12 * 3_600


def test_unused_tokens_are_found(tokens: Run, stored: Stored) -> None:
    """`list --unused-for` shows the active tokens that were neither created nor used in that time."""
    for name in ("unused", "used", "ended"):
        tokens("create", "--name", name, "--role", "reader")
    tokens("revoke", "ended")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    stored.tokens.update_one({"name": "used"}, {"$set": {"last_used_at": tomorrow}})
    assert tokens("list", "--unused-for", "1d").stdout.splitlines()[1:] == []
    wait_until(lambda: len(tokens("list", "--unused-for", "1s").stdout.splitlines()) > 1)
    [row] = tokens("list", "--unused-for", "1s").stdout.splitlines()[1:]
    assert row.split()[0] == "unused"
    assert moment(tomorrow) in tokens("list", "--json").stdout


def test_what_a_revoked_token_created_is_named(tokens: Run, mongo_uri: str) -> None:
    """Without `--cascade`, `revoke` names each thing that stays, and how it ends."""
    with running_app(settings(mongo_uri, KEY)) as app:
        make_token(app, "ci", role="admin")
        made = create_all(app, "ci")
    done = tokens("revoke", "ci")
    assert "--cascade" in done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] + "\n" == f"revoked: ci{EVERYWHERE}"
    assert set(lines[1:]) == {f"stays: {kind} {name}" for kind, name in made}
    stays = json.loads(tokens("revoke", "ci", "--json").stdout)["stays"]
    assert {(one["kind"], one["name"]) for one in stays} == made
    done = tokens("revoke", "ci", "--cascade")
    assert (done.stderr, "stays" in done.stdout) == ("", False)


def test_a_revoked_token_is_listed_as_revoked(tokens: Run, stored: Stored) -> None:
    """`revoke` ends a token by its name, repeatedly; an unknown name is an error."""
    tokens("create", "--name", "ci", "--role", "reader")
    for again in (False, True):
        done = tokens("revoke", "ci")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == ("already revoked: ci\n" if again else f"revoked: ci{EVERYWHERE}")
    assert tokens("list").stdout.splitlines()[1].split()[:2] == ["ci", "revoked"]
    done = tokens("revoke", "nobody")
    hint = "run `secret-manager tokens list` to see all names"
    assert (done.returncode, done.stdout, done.stderr) == (3, "", f"error: Token not found. Hint: {hint}\n")
    # By time: within a second, identifiers of several streams are not ordered.
    last = stored.audit_logs.find_one(sort=[("ts", -1)])
    assert last is not None
    assert (last["action"], last["status"], last["details"]) == (
        "token_revoke",
        "not_found",
        {"token": "nobody"},
    )


def test_a_name_in_two_namespaces_needs_one(tokens: Run) -> None:
    """`revoke` of an ambiguous name names the option to add; the revoked tokens are printed."""
    for namespace in ("team-a", "team-b"):
        assert tokens("create", "--name", "ci", "--role", "reader", "--namespace", namespace).returncode == 0
    done = tokens("revoke", "ci")
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        "error: several namespaces have a token with this name. Hint: add --namespace\n",
    )
    done = tokens("revoke", "--namespace", "team-a", "--cascade", "ci")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"revoked: team-a/ci{EVERYWHERE}", "")
    assert tokens("revoke", "--namespace", "team-a", "ci").stdout == "already revoked: team-a/ci\n"
    shown = json.loads(tokens("revoke", "--namespace", "team-a", "ci", "--json").stdout)
    assert shown == {"namespace": "team-a", "revoked": []}
    assert [line.split()[:3] for line in tokens("list").stdout.splitlines()[1:]] == [
        ["ci", "revoked", "team-a"],
        ["ci", "active", "team-b"],
    ]


def test_a_path_without_a_slash_is_noted(tokens: Run) -> None:
    """A path that looks like a folder and is the name of one secret is noted, unless the command is quiet."""
    arguments = ("create", "--role", "reader", "--path", "billing", "--path", "app/", "--path", "a/b")
    note = "note: billing is the name of one secret; all names below it are billing/\n"
    assert tokens(*arguments, "--name", "one").stderr == note
    assert tokens(*arguments, "--name", "two", "--quiet").stderr == ""


def test_display_says_that_there_are_no_limits(tokens: Run) -> None:
    """`--display` says the same of a token without limits as `whoami`."""
    done = tokens("create", "--name", "free", "--role", "admin", "--display")
    shown = dict(re.split(": +", line) for line in done.stderr.splitlines())
    assert (shown["networks"], shown["paths"], shown["expires"]) == ("all", "all", "never")
    assert shown["last used"] == "-"


def test_stored_control_characters_are_escaped(tokens: Run, stored: Stored) -> None:
    """A name that the service did not write is printed without control characters."""
    tokens("create", "--name", "ci", "--role", "reader")
    stored.tokens.update_one({}, {"$set": {"name": "\x1b[2J"}})
    assert tokens("list").stdout.splitlines()[1].split()[:2] == ["\\u001b[2J", "altered"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("create", "--name", "ci"),
        ("create", "--role", "admin"),
        ("create", "--name", "a:b", "--role", "admin"),
        ("create", "--name", "ci", "--role", "king"),
        ("create", "--name", "ci", "--scope", "secret:*"),
        ("create", "--name", "ci", "--role", "admin", "--network", "everywhere"),
        ("create", "--name", "ci", "--role", "admin", "--path", "/billing"),
        ("create", "--name", "ci", "--role", "admin", *["--path", "a/"] * 33),
        ("create", "--name", "ci", "--role", "admin", "--expires-in", "30D"),
        ("create", "--name", "ci", "--role", "admin", "--renewable"),
        ("create", "--name", "ci", "--role", "admin", "--max-age", "90d"),
        ("list", "--unused-for", "soon"),
    ],
    ids=str,
)
def test_an_invalid_argument_is_refused(tokens: Run, arguments: tuple[str, ...]) -> None:
    """Invalid arguments are refused before anything is done."""
    done = tokens(*arguments, environment={})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")


@pytest.mark.promise(3)
def test_no_token_leaves_without_its_entry(tokens: Run, stored: Stored) -> None:
    """While the trail cannot be written, `create` prints nothing."""
    block_trail(stored)
    done = tokens("create", "--name", "ci", "--role", "admin")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("error: the audit trail cannot be written\n")


def test_tokens_survive_the_master_key(tokens: Run, mongo_uri: str, tmp_path: Path, stored: Stored) -> None:
    """`keys status` counts the token key, `keys rewrap` changes its key, and tokens stay valid."""
    token = tokens("create", "--name", "ci", "--role", "auditor").stdout.strip()

    def keys(*arguments: str) -> Done:
        return invoke("keys", *arguments, environment=settings(mongo_uri, NEW, KEY), folder=tmp_path)

    assert table(keys("status").stdout)[KEY.id] == ("fallback", 0, "no, tokens need it")
    done = keys("rewrap", "--dry-run")
    assert (done.returncode, done.stdout.split(",")[0]) == (0, "1 could be rewrapped")
    assert table(keys("status").stdout)[KEY.id] == ("fallback", 0, "no, tokens need it")
    for rewrapped in (1, 0):
        done = keys("rewrap")
        assert (done.returncode, done.stdout.split(",")[0]) == (0, f"{rewrapped} rewrapped")
    assert table(keys("status").stdout)[KEY.id] == ("fallback", 0, "yes")
    with running_app(settings(mongo_uri, NEW)) as app:
        reply = app.test_client().post("/vault/audit/query", json={}, headers=bearer(token))
        assert reply.status_code == 200
    assert text(NEW) not in str(stored.token_keys.find_one())


@pytest.mark.parametrize("arguments", [(), ("--dry-run",)], ids=["rewrap", "dry run"])
def test_an_altered_token_key_is_left(
    tokens: Run, mongo_uri: str, tmp_path: Path, stored: Stored, arguments: tuple[str, ...]
) -> None:
    """An altered token key is counted as a value that does not verify, and stays."""
    tokens("create", "--name", "ci", "--role", "auditor")
    envelope = bytes(stored.token_keys.find_one()["envelope"])
    stored.token_keys.update_one({}, {"$set": {"envelope": envelope[:-1] + bytes([envelope[-1] ^ 1])}})
    environment = settings(mongo_uri, NEW, KEY)
    done = invoke("keys", "rewrap", *arguments, environment=environment, folder=tmp_path)
    assert done.returncode == 1
    assert "1 failed, 1 left" in done.stdout


def test_a_missing_key_of_all_tokens_is_named(
    tokens: Run, mongo_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A replica without the token key's master key does not serve, and logs what needs it."""
    tokens("create", "--name", "ci", "--role", "auditor")
    with running_app(settings(mongo_uri, NEW)) as app:
        start(app)
        assert app.test_client().get("/health/ready").status_code == 503
    assert f"master key {KEY.id} is in use" in caplog.text
    assert "all tokens need it" in caplog.text


def test_a_list_of_tokens_breaks_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 100 columns, every scope, time, network and path of a renewable token stays in one piece."""
    now = datetime(2026, 11, 26, 15, 2, tzinfo=UTC)
    # Without one of a role's, so that they are listed by name.
    scopes = sorted(ROLES["admin"])[1:]
    info = TokenInfo(
        name="dev-1a2b3c4d",
        state="active",
        namespace="default",
        scopes=tuple(scopes),
        networks=("10.0.0.0/8",),
        paths=("billing/",),
        created_at=now,
        created_by="operator",
        expires_at=now,
        renewable_until=now,
        last_used_at=now,
    )
    lines: list[str] = []
    monkeypatch.setattr(click, "echo", lines.append)
    Output().table(COLUMNS, [asdict(info)])
    words = {word for line in lines for word in line.split()}
    assert words >= {
        *scopes,
        "10.0.0.0/8",
        "billing/",
        "namespace",
        "2026-11-26",
        "15:02Z",
        "operator",
    }
    assert max(map(len, lines)) <= 100


def test_a_token_that_cannot_be_written_is_named(tokens: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """If standard output is full, the error names the new token, and the command that revokes it."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Output, "result", fail)
    done = tokens("create", "--name", "unseen", "--role", "reader")
    assert done.returncode == 1
    assert done.stderr == (
        "error: the token unseen was created, but cannot be written: No space left on device. "
        "Hint: run `secret-manager tokens revoke unseen`, and create another one\n"
    )
