"""The operators' commands for issuers and roles."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import running_app
from tests.support.access import bearer
from tests.support.commands import Done, invoke
from tests.support.issuer import AUDIENCE as SETTINGS_AUDIENCE
from tests.support.issuer import ED_KEY, ISSUER, public_pem, sign
from tests.support.rotation import Stored, new_key, settings
from tests.toolkit.cli.test_exits import failing
from tests.toolkit.cli.test_exits_quotes import refused
from vault.common.errors import VaultError
from vault.core.principal import Scope
from vault.features.jwt.errors import (
    IssuerInUseError,
    IssuerTakenError,
    RoleNameTakenError,
    RoleTooBroadError,
)

Run = Callable[..., Done]
KEY = new_key()
ISS = "https://ci.example"


@pytest.fixture
def environment(mongo_uri: str) -> dict[str, str]:
    """Return settings with an issuer of JWTs."""
    own = {"JWT_PUBLIC_KEY": public_pem(), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": SETTINGS_AUDIENCE}
    return settings(mongo_uri, KEY) | own


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Return a function that runs a command, with files in its folder."""
    (tmp_path / "key.pem").write_text(public_pem(ED_KEY))

    def command(*arguments: str) -> Done:
        return invoke(*arguments, environment=environment, folder=tmp_path)

    return command


def good(done: Done) -> str:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def jwt(**changes: Any) -> str:
    """Return a JWT of the issuer `ci`."""
    return sign("ed-1", **{"iss": ISS, "aud": "vault", "sub": "job", "scope": None, **changes})


def add_issuer(run: Run, command: str = "create") -> Done:
    return run(*("issuers", command, "ci", "--issuer", ISS, "--audience", "vault"), "--public-key", "key.pem")


def add_role(run: Run, name: str = "deploy", *more: str) -> Done:
    return run(
        *("roles", "create", name, "--issuer", "ci", "--claim", "sub=job", "--scope", "secret:fetch"), *more
    )


def test_an_issuer_and_a_role_admit_a_jwt(run: Run, environment: dict[str, str], stored: Stored) -> None:
    """The commands print what they did, a running service accepts the JWT, and each leaves an entry."""
    assert (good(add_issuer(run)), good(add_role(run))) == ("created: ci\n", "created: deploy\n")
    with running_app({**environment, "AUTH_ENABLED": "true"}) as app:
        client = app.test_client()
        assert client.post("/vault/secret/fetch", json={}, headers=bearer(jwt())).status_code == 422
        assert client.post("/vault/secret/fetch", json={}, headers=bearer(jwt(sub="x"))).status_code == 401
    assert good(run("roles", "delete", "deploy")) == "deleted: deploy\n"
    assert json.loads(good(run("issuers", "delete", "ci", "--json"))) == {"name": "ci", "state": "deleted"}
    actions = [entry["action"] for entry in stored.audit_logs.find({"principal": "operator"})]
    assert actions == ["issuer_create", "role_create", "role_delete", "issuer_delete"]
    assert stored["keys"].find_one("claims")["workers"] == []


def test_lists_show_everything(run: Run) -> None:
    """`list` shows issuers and roles with all their fields."""
    good(add_issuer(run, command="add"))
    good(
        run(
            *("issuers", "add", "github", "--issuer", "https://gh.example", "--audience", "vault"),
            *("--jwks-url", "https://gh.example/keys", "--algorithm", "RS256"),
        )
    )
    good(
        add_role(
            run,
            "deploy",
            *("--claim", "/a/b=c=d", "--claim-glob", "ref=v*", "--scope", "secret:list", "--path", "acme/"),
            *("--path", "shared/db", "--namespace", "team-a", "--network", "10.0.0.0/8", "--max-age", "1h"),
        )
    )
    heading = good(run("issuers", "list")).splitlines()[0]
    assert heading.split() == ["name", "state", "issuer", "audience", "keys", "algorithms", "created", "by"]
    default, ci, github = map(json.loads, good(run("issuers", "list", "--json")).splitlines())
    assert [default["name"], default["state"], default["issuer"]] == ["default", "settings", ISSUER]
    assert [ci["name"], ci["state"], ci["issuer"], ci["public_key"]] == [
        "ci",
        "active",
        ISS,
        public_pem(ED_KEY),
    ]
    assert [github["jwks_url"], github["algorithms"]] == ["https://gh.example/keys", ["RS256"]]
    shown = good(run("roles", "list"))
    assert max(map(len, shown.splitlines())) <= 100
    for word in ("team-a", "/a/b=c=d", "ref~v*", "secret:fetch", "acme/", "10.0.0.0/8", "1h"):
        assert word in shown
    role = json.loads(good(run("roles", "list", "--json")))
    assert (role["claims"], role["claim_globs"]) == ({"/a/b": "c=d", "sub": "job"}, {"ref": "v*"})
    assert (role["max_age"], role["scopes"]) == (3_600, ["secret:fetch", "secret:list"])


def test_a_jwt_is_explained(run: Run, tmp_path: Path, stored: Stored) -> None:
    """`roles test` shows each step for a JWT, and what it gets; the JWT is not recorded."""
    good(add_issuer(run))
    good(add_role(run, "a", "--path", "acme/"))
    good(add_role(run, "b", "--claim", "ref=main"))
    file = tmp_path / "jwt"
    file.write_text(jwt() + "\n")
    lines = good(run("roles", "test", "--file", "jwt")).splitlines()
    assert lines[0] == "issuer: ci"
    assert lines[1].startswith("JWT: verified, valid until ")
    assert lines[2:-1] == [
        "role a: matches",
        "role b: does not match: claim ref",
        "result: accepted",
        "principal: ci/jwt:job",
        "role: a",
        "namespace: default",
        "scopes: secret:fetch",
        "paths: acme/",
        "networks: all",
    ]
    assert lines[-1].startswith("expires: ")
    refused = run("roles", "test", "--file", "jwt", "--role", "b")
    assert (refused.returncode, refused.stdout.splitlines()[-1]) == (1, "result: refused: role b: claim ref")
    file.write_text(jwt(aud="x"))
    refused = run("issuers", "test", "--file", "jwt")
    assert (refused.returncode, refused.stdout) == (1, "result: refused: issuer ci: audience\n")
    file.write_text("no jwt")
    assert run("issuers", "test", "--file", "jwt").stdout == "result: refused: jwt DecodeError\n"
    file.write_text(sign())
    own = good(run("issuers", "test", "--file", "jwt"))
    assert "issuer: default\n" in own
    assert "role: -\n" in own
    entries = list(stored.audit_logs.find({"action": "role_test"}))
    assert [entry["details"]["result"] for entry in entries][:2] == ["accepted", "refused: role b: claim ref"]
    assert jwt().split(".")[1][:40] not in str(list(stored.audit_logs.find()))


def test_errors_are_sentences(run: Run) -> None:
    """Refusals name the reason; what does not exist exits with 3."""
    for done, noun in (
        (add_role(run), "issuer"),
        (run("issuers", "delete", "ci"), "issuer"),
        (run("roles", "delete", "deploy", "--namespace", "team-a"), "role"),
    ):
        assert (done.returncode, done.stdout) == (3, "")
        hint = f"run `secret-manager {noun}s list` to see all names"
        assert done.stderr == f"error: {noun.capitalize()} not found. Hint: {hint}\n"
    good(add_issuer(run))
    assert "An issuer has this name" in add_issuer(run).stderr
    good(add_role(run))
    assert "already used" in add_role(run).stderr
    assert "has roles" in run("issuers", "delete", "ci").stderr


@pytest.mark.new_database
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("issuers", "create", "a:b", "--issuer", "x", "--audience", "y"), "letters, digits"),
        (("issuers", "create", "a", "--issuer", "x", "--audience", "y"), "--jwks-url or --public-key"),
        (
            ("issuers", "create", "a", "--issuer", "x", "--audience", "y", "--public-key", "binary"),
            "Invalid value for --public-key: must be a public key",
        ),
        (
            (
                *("issuers", "create", "a", "--issuer", "x", "--audience", "y", "--public-key", "key.pem"),
                *("--algorithm", "RS256"),
            ),
            "does not fit",
        ),
        (("issuers", "create", "a", "--issuer", "", "--audience", "y"), "must have"),
        (("roles", "create", "a", "--issuer", "ci", "--claim", "sub"), "KEY=VALUE"),
        (("roles", "create", "a", "--issuer", "ci", "--max-age", "25h"), "at most 24h"),
        (
            (
                *("roles", "create", "a", "--issuer", "ci", "--scope", "secret:fetch"),
                *(part for number in range(17) for part in ("--claim", f"c{number}=x")),
            ),
            "at most 16 times",
        ),
        (
            (
                *("roles", "create", "a", "--issuer", "ci", "--scope", "secret:fetch"),
                *("--claim-glob", "ref=v*", "--claim-glob", "ref=w*"),
            ),
            "Each claim can have one --claim-glob",
        ),
        (
            (
                *("roles", "create", "a", "--issuer", "ci", "--scope", "secret:fetch"),
                *("--claim-glob", "ref=" + "*a" * 9),
            ),
            "a glob 8 asterisks",
        ),
    ],
    ids=lambda value: str(value)[-40:],
)
def test_an_invalid_argument_is_refused(
    run: Run, tmp_path: Path, stored: Stored, arguments: tuple[str, ...], message: str
) -> None:
    """An invalid argument is a usage error with the rule, before anything is stored."""
    (tmp_path / "binary").write_bytes(b"\x30\x82\xff")
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert stored.list_collection_names() == []


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (
            IssuerInUseError(),
            1,
            "The issuer has roles. Hint: delete them with `secret-manager roles delete`, or add --force",
        ),
        (
            IssuerTakenError("It is used."),
            1,
            "It is used. Hint: choose others, or delete that issuer: see `secret-manager issuers list`",
        ),
        (
            RoleNameTakenError("It is used."),
            1,
            (
                "It is used. Hint: choose another name, or delete that one: "
                "see `secret-manager roles list`, also for orphaned ones"
            ),
        ),
        (RoleNameTakenError("It is made.", hint="Try again."), 1, "It is made. Hint: Try again."),
        (RoleTooBroadError("It is open to anyone."), 4, "It is open to anyone."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_each_error_has_its_code_and_its_line(error: VaultError, code: int, line: str) -> None:
    """Commands name other commands in their hints, in place of what callers of the API can do."""
    done = failing(error)
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", f"error: {line}\n")
    assert str(IssuerInUseError()) == "The issuer has roles. Delete them first, or use force."


def test_a_missing_option_has_its_choices() -> None:
    """An option that is required and missing is named with its values."""
    scopes = ", ".join(scope.value for scope in Scope)
    line = refused("roles", "create", "a", "--issuer", "b")
    assert line.startswith(f"error: Missing option '--scope'. Choose from: {scopes}. Hint: see")
