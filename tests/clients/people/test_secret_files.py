"""The commands `secret import` and `secret export`."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from tests.support.access import make_token
from tests.support.people import Person
from vault.clients.people import secret_files
from vault.common.errors import ServiceRefusedError, ServiceUnavailableError
from vault.core.crypto.token import new_token
from vault.toolkit.client.http import HTTPClient, Reply
from vault.toolkit.client.secrets import Secrets


def test_an_import_shows_its_plan_first(person: Person, tmp_path: Path) -> None:
    """Without `--apply`, the plan has names and changes only, and nothing changes."""
    person.does("secret", "set", "app/A", send=b"hunter1")
    person.does("secret", "set", "app/B", send=b"old")
    (tmp_path / ".env").write_text("A=hunter1\nB=hunter2\nC=hunter3\n")
    result = person.try_to("secret", "import", tmp_path / ".env", "--prefix", "app/")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows == [["name", "change"], ["app/A", "unchanged"], ["app/B", "update"], ["app/C", "create"]]
    assert "hunter" not in result.output
    assert "2 changes due; run it again with --apply" in result.stderr
    shown = person.sees("secret", "import", tmp_path / ".env", "--prefix", "app/", "--show-values")
    assert shown[2] == {"name": "app/C", "change": "create", "value": "hunter3"}
    assert person.does("secret", "get", "app/B") == "old"
    person.fails_to("secret", "get", "app/C", code=3)


def test_an_import_is_applied_once(person: Person, tmp_path: Path) -> None:
    """`--apply` creates and updates; after that, all is unchanged."""
    person.does("secret", "set", "app/B", send=b"old")
    (tmp_path / "a.json").write_text(json.dumps({"app/A": "one", "app/B": "two"}))
    command = ("secret", "import", tmp_path / "a.json", "--apply")
    assert person.does(*command) == "1 created, 1 updated, 0 unchanged\n"
    assert person.does("secret", "get", "app/B") == "two"
    assert person.sees(*command) == [{"created": 0, "updated": 0, "unchanged": 2}]
    assert person.sees("secret", "describe", "app/B")[0]["version"] == 2
    assert "nothing to change" in person.try_to(*command[:3]).stderr


def test_an_import_takes_a_dry_run(person: Person) -> None:
    """`--dry-run` shows the plan, as without options; with `--apply`, it is refused, and nothing changes."""
    command = ("secret", "import", "-", "--dry-run")
    assert person.does(*command, send=b"A=1\n").splitlines()[1].split() == ["A", "create"]
    assert "--dry-run" in person.fails_to(*command, "--apply", send=b"A=1\n", code=2)
    person.fails_to("secret", "get", "A", code=3)


def test_all_problems_of_a_file_are_reported(person: Person) -> None:
    """Each problem of a file is a line, before anything is stored; `--skip-empty` leaves out empty values."""
    command = ("secret", "import", "-", "--apply")
    result = person.try_to(*command, send=b"A=\nnonsense\nB=\nC=x\n")
    assert (result.exit_code, result.stdout) == (1, "")
    line, *empty, error = result.stderr.splitlines()
    assert line == "line 2 is not NAME=value"
    remedy = "remove it, or add --skip-empty to leave out all of these"
    assert empty == [f"the value for {name} is empty; {remedy}" for name in "AB"]
    assert error == "error: 3 problems in the file. Hint: correct them; nothing was changed"
    assert person.calls == []
    assert (
        person.does(*command, "--skip-empty", send=b"A=\nB=\nC=x\n") == "1 created, 0 updated, 0 unchanged\n"
    )


def test_a_token_in_a_file_is_not_printed(person: Person) -> None:
    """A token in place of a name is refused, also among other problems, and is not printed."""
    token = new_token()
    for given in ({token: "x"}, {token: "x", "b": ""}):
        result = person.try_to("secret", "import", "-", "--format", "json", send=json.dumps(given))
        assert result.exit_code == 1
        assert "must not contain a token" in result.stderr
        assert token not in result.output
    assert "must not contain a token" in person.fails_to("secret", "get", token, code=2)
    assert person.calls == []


def test_an_import_waits_for_the_rate_limit(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import beyond the rate limit waits as `Retry-After` says, in smaller batches if they never fit."""
    waits: list[int] = []
    monkeypatch.setattr(secret_files, "time", SimpleNamespace(sleep=waits.append))
    request = HTTPClient.request

    def limited(client: HTTPClient, method: str, target: str, *, body: bytes, **options: Any) -> Reply:
        items = len(json.loads(body).get("secrets", ()))
        if target.endswith("create-batch") and items > 30:
            return Reply(429, b'{"code": "rate_limited", "detail": "Too many requests."}', "7")
        return request(client, method, target, body=body, **options)

    monkeypatch.setattr(HTTPClient, "request", limited)
    given = "\n".join(f"N{number}=x" for number in range(130))
    result = person.try_to("secret", "import", "-", "--apply", send=given)
    assert result.stdout == "130 created, 0 updated, 0 unchanged\n"
    assert waits == [7] * 4
    assert result.stderr.count("the rate limit is reached: waiting 7 seconds") == 4
    # 100 and 50 do not fit, twice each.
    assert person.calls.count("/vault/secret/create-batch") == 6


def test_a_limit_without_a_time_ends_an_import(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal that does not say when to go on is an error."""
    refusal = Reply(429, b'{"code": "rate_limited", "detail": "Too many requests."}', "")
    monkeypatch.setattr(HTTPClient, "request", lambda *_, **__: refusal)
    assert "429" in person.fails_to("secret", "import", "-", "--apply", send=b"A=x", code=1)


def test_a_partial_failure_is_reported(person: Person, app: Flask) -> None:
    """If some secrets cannot be stored, the others are, and the error counts those that are not."""
    person.does("secret", "set", "b", send=b"old")
    person.environment["VAULT_TOKEN"] = make_token(
        app, "m", scopes=("secret:create", "secret:describe", "secret:fetch", "secret:list")
    )
    result = person.try_to("secret", "import", "-", "--apply", send=b"a=1\nb=2\n")
    assert result.exit_code == 1
    assert result.stdout == "1 created, 0 updated, 0 unchanged\n"
    assert "b: " in result.stderr
    assert "1 secret not stored" in result.stderr


def test_a_secret_that_cannot_be_compared_stops_an_import(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a present value cannot be read, nothing changes."""
    person.does("secret", "set", "a", send=b"old")
    monkeypatch.setattr(Secrets, "fetch", lambda _self, _references: [ServiceUnavailableError("away")])
    person.fails_to("secret", "import", "-", "--apply", send=b"a=1\n", code=5)


def test_a_plan_uses_no_reads(person: Person) -> None:
    """An import does not read secrets with a read limit; `--apply` stores their next version."""
    person.does("secret", "set", "app/once", "--max-reads", 1, send=b"v")
    command = ("secret", "import", "-", "--prefix", "app/")
    result = person.does(*command, send=b"once=v\nnew=n\n")
    assert "app/once  exists, has a read limit: not compared\n" in result
    assert person.sees("secret", "describe", "app/once")[0]["reads_left"] == 1
    assert person.does(*command, "--apply", send=b"once=w\n") == "0 created, 1 updated, 0 unchanged\n"
    assert person.does("secret", "get", "app/once") == "w"


def test_a_secret_without_its_newest_version_is_updated(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret whose newest version cannot be read, as by Vault's API, gets the next version."""
    person.does("secret", "set", "a", send=b"old")
    gone = ServiceRefusedError("gone", status=404, code="secret_not_found")
    monkeypatch.setattr(Secrets, "fetch", lambda _self, _references: [gone])
    assert person.does("secret", "import", "-", "--apply", send=b"a=1\n") == (
        "0 created, 1 updated, 0 unchanged\n"
    )


def test_an_export_takes_its_prefix_as_an_option(person: Person) -> None:
    """`--prefix P` is the argument P; together they are refused."""
    person.does("secret", "set", "app/A", send=b"a")
    person.does("secret", "set", "b/B", send=b"b")
    assert person.does("secret", "export", "--prefix", "app/") == "A=a\n"
    person.fails_to("secret", "export", "--prefix", "app/", "app/", code=2)


def test_an_export_names_the_reads_that_it_would_use(person: Person) -> None:
    """Reads of limited secrets are used only with `--use-reads`, and only after all other values fit."""
    person.does("secret", "set", "ex/limited", "--max-reads", 1, send=b"v")
    person.does("secret", "set", "ex/bin", send=b"\xff")
    command = ("secret", "export", "ex/", "--format", "json")
    refused = person.fails_to(*command, code=1)
    assert "a read of ex/limited" in refused
    assert "--use-reads" in refused
    assert "ex/bin is not text" in person.fails_to(*command, "--use-reads", code=1)
    assert person.sees("secret", "describe", "ex/limited")[0]["reads_left"] == 1
    person.does("secret", "delete", "ex/bin", "--yes")
    assert json.loads(person.does(*command, "--use-reads")) == {"ex/limited": "v"}


def test_an_export_names_secrets(person: Person) -> None:
    """An error of `export` has the name of the secret, not its variable."""
    person.does("secret", "set", "app/a", send=b"'$")
    assert "the value of app/a" in person.fails_to("secret", "export", "app/", code=1)
    assert "has no slash at its end" in person.try_to("secret", "export", "ap").stderr
    assert "begins with nothing/" in person.fails_to("secret", "export", "nothing/", code=3)


def test_an_invalid_file_changes_nothing(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invalid name, a file that is too large, and a missing file are errors before any request."""
    person.fails_to("secret", "import", "-", "--prefix", "a", send=b"-=1\nB C=2\n", code=1)
    assert "name of a secret" in person.fails_to("secret", "import", "-", send=b"a*b=1\n", code=1)
    odd = person.fails_to("secret", "import", "-", "--format", "json", send=b'{"e\\u0301": "x"}', code=1)
    assert "cannot be the name of a secret: it must be in the Unicode normal form NFC" in odd
    assert str(tmp_path / "none") in person.fails_to("secret", "import", tmp_path / "none", code=2)
    monkeypatch.setattr(secret_files, "_MAX_BYTES", 5)
    assert "larger than" in person.fails_to("secret", "import", "-", send=b"a=12345\n", code=1)
    assert person.calls == []


def test_a_prefix_without_a_slash_is_noted(person: Person) -> None:
    """`import --prefix` puts the prefix before each name as it is, and notes one that is no folder."""
    result = person.try_to("secret", "import", "-", "--prefix", "app", send="A=1\n")
    assert result.stderr.startswith("note: app has no slash at its end, so the secret for NAME is appNAME\n")
    assert "note" not in person.try_to("secret", "import", "-", "--prefix", "app/", send="A=1\n").stderr
    assert "note" not in person.try_to("secret", "import", "-", send="A=1\n").stderr


def test_an_export_has_all_secrets_of_a_prefix(person: Person) -> None:
    """`export` prints variables; JSON and YAML have the whole names, and JSON can be imported again."""
    person.does("secret", "set", "app/db-password", send=b"it's")
    person.does("secret", "set", "app/x/y", send=b"plain")
    person.does("secret", "set", "other", send=b"o")
    assert person.does("secret", "export", "app/") == 'DB_PASSWORD="it\'s"\nX_Y=plain\n'
    exported = person.does("secret", "export", "--format", "yaml")
    assert exported == "app/db-password: it's\napp/x/y: plain\nother: o\n"
    exported = person.does("secret", "export", "app/", "--json")
    assert json.loads(exported) == {"app/db-password": "it's", "app/x/y": "plain"}
    again = person.does("secret", "import", "-", "--format", "json", "--apply", send=exported)
    assert again == "0 created, 0 updated, 2 unchanged\n"


def test_an_export_is_complete_or_an_error(person: Person) -> None:
    """Without secrets, with two for one variable, or with a value that is not text, nothing is printed."""
    person.fails_to("secret", "export", "app/", code=3)
    person.does("secret", "set", "app/a-b", send=b"v")
    person.does("secret", "set", "app/a.b", send=b"\xff")
    assert "would both be A_B" in person.fails_to("secret", "export", "app/", code=1)
    assert "app/a.b is not text" in person.fails_to("secret", "export", "app/", "--format", "json", code=1)


@pytest.mark.parametrize("form", ["env", "json", "yaml"])
def test_an_export_does_not_change_a_terminal(person: Person, form: str) -> None:
    """On a terminal, a value that could change it is an error and costs no read; to a file, it is printed."""
    person.does("secret", "set", "app/once", "--max-reads", "1", send=b"hunter1")
    person.does("secret", "set", "app/title", send="a\u202eb\x7f\x9b31m".encode())
    command = ("secret", "export", "app/", "--format", form, "--use-reads")
    person.sit_at_terminal("<stdout>")
    refused = person.fails_to(*command, code=1)
    assert "app/title is not text for a terminal" in refused
    assert person.sees("secret", "describe", "app/once")[0]["reads_left"] == 1
    person.does("secret", "set", "other/a", send=b"a\n\tb")
    assert "tb" in person.does("secret", "export", "other/", "--format", "json")
    person.sit_at_terminal("<stdin>")
    assert "hunter1" in person.does(*command)


def test_what_a_format_escapes_is_printed_on_a_terminal(person: Person) -> None:
    """A value that could change a terminal only without the escapes of JSON or YAML is printed in these."""
    person.does("secret", "set", "app/pem", send=b"one\r\ntwo\r\n")
    person.sit_at_terminal("<stdout>")
    assert "one\\r\\ntwo" in person.does("secret", "export", "app/", "--format", "json")
    assert "one\\r\\ntwo" in person.does("secret", "export", "app/", "--format", "yaml")
