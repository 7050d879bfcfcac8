"""The commands `secret list`, `describe`, `delete` and `restore`."""

import pytest
from flask import Flask

from tests.support.access import make_token
from tests.support.people import Person
from vault.toolkit.client import secrets

NAME = "billing/db-password"


def test_secrets_are_listed_without_values(person: Person) -> None:
    """`list` prints names, IDs and labels, of all or of those with a prefix and labels."""
    person.does("secret", "set", NAME, "--label", "env=prod", send=b"hunter2")
    person.does("secret", "set", "app/key", send=b"hunter2")
    result = person.try_to("secret", "list")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["name", "ID", "labels"]
    assert [line.split()[0] for line in lines[1:]] == ["app/key", NAME]
    assert "env=prod" in lines[2]
    assert all(len(line) <= 100 for line in lines)
    assert result.stderr == "2 secrets\n"
    assert "hunter2" not in result.output
    assert [row["name"] for row in person.sees("secret", "list", "billing/")] == [NAME]
    assert [row["name"] for row in person.sees("secret", "list", "--label", "env=prod")] == [NAME]
    assert person.sees("secret", "list", "--label", "env=test") == []
    person.fails_to("secret", "list", "a*b", code=2)
    person.fails_to("secret", "list", "--label", "env", code=2)


def test_a_list_finds_texts_and_expiries(person: Person) -> None:
    """`list --search` finds a text in names and labels; `--expiring` has the next to expire first."""
    person.does("secret", "set", NAME, "--ttl", "20d", send=b"hunter2")
    person.does("secret", "set", "app/key", "--ttl", "10d", "--label", "of=Billing", send=b"hunter2")
    person.does("secret", "set", "app/other", "--ttl", "90d", send=b"hunter2")
    assert [row["name"] for row in person.sees("secret", "list", "--search", "BILL")] == ["app/key", NAME]
    assert [row["name"] for row in person.sees("secret", "list", "app/", "--search", "bill")] == ["app/key"]
    lines = person.does("secret", "list", "--expiring", "30d").splitlines()
    assert lines[0].split() == ["name", "ID", "labels", "expires"]
    assert [line.split()[0] for line in lines[1:]] == ["app/key", NAME]
    assert person.sees("secret", "list", "--expiring", "12d")[0]["expires_at"].startswith("2")
    assert person.sees("secret", "list", "--expiring", "1h", "--search", "key") == []
    person.fails_to("secret", "list", "--expiring", "soon", code=2)


def test_a_list_has_all_pages(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """`list` asks for page after page."""
    monkeypatch.setattr(secrets, "_PAGE", 2)
    names = [f"app/{number}" for number in range(5)]
    for name in names:
        person.does("secret", "set", name, "--generate", 8)
    del person.calls[:]
    assert [row["name"] for row in person.sees("secret", "list")] == names
    assert person.calls == ["/vault/secret/list"] * 3


def test_a_description_is_for_people(person: Person) -> None:
    """`describe` prints what a secret has, except for its value."""
    person.does("secret", "set", NAME, "--max-reads", 3, "--label", "env=prod", send=b"hunter2")
    person.does("secret", "set", NAME, send=b"hunter3")
    found = dict(line.split(maxsplit=1) for line in person.does("secret", "describe", NAME).splitlines()[:4])
    assert found["name"] == NAME
    assert found["labels"] == "env=prod"
    shown = person.does("secret", "describe", NAME)
    assert "reads left    3\n" in shown
    assert "expires       never\n" in shown
    assert "\nversion 2 " in shown
    assert "hunter" not in shown


def test_a_name_that_looks_like_a_time_is_a_name(person: Person) -> None:
    """`describe` prints times for people, and names and labels as they are."""
    person.does("secret", "set", "20261126", "--ttl", "1h", send=b"v")
    lines = person.does("secret", "describe", "20261126").splitlines()
    shown = dict(line.split(maxsplit=1) for line in lines if not line.startswith(("last", "reads")))
    assert shown["name"] == "20261126"
    assert all(shown[heading].endswith("Z") for heading in ("created", "expires"))


def test_a_deletion_asks_on_a_terminal(person: Person) -> None:
    """On a terminal, `delete` asks, unless `--yes` is given."""
    person.does("secret", "set", NAME, send=b"v")
    person.sit_at_terminal("<stdin>")
    assert "not deleted" in person.fails_to("secret", "delete", NAME, send="n\n", code=1)
    assert person.does("secret", "get", NAME) == "v"
    assert "cannot be restored" in person.does("secret", "delete", NAME, send="y\n")
    person.fails_to("secret", "get", NAME, code=3)
    person.does("secret", "set", NAME, send=b"v\nv\n")
    person.does("secret", "delete", NAME, "--yes")
    person.fails_to("secret", "restore", NAME, code=3)


def test_a_script_confirms_a_permanent_deletion(person: Person, app: Flask) -> None:
    """Without a terminal, `delete` requires `--yes` unless the caller knows that it can be undone."""
    person.does("secret", "set", NAME, send=b"v")
    required = "error: Add --yes: the secret cannot be restored. Hint: see `"
    assert person.fails_to("secret", "delete", NAME, code=2).startswith(required)
    person.fails_to("secret", "delete", "none", code=3)
    person.environment["VAULT_TOKEN"] = make_token(app, "deleter", scopes=("secret:delete",))
    assert person.fails_to("secret", "delete", NAME, code=2).startswith(required)
    assert "cannot be restored" in person.does("secret", "delete", NAME, "--yes")


class TestRecovery:
    """With `DELETE_RECOVERY_DAYS`."""

    @pytest.fixture
    def environment(self, environment: dict[str, str]) -> dict[str, str]:
        """Return the settings of the service."""
        return {**environment, "DELETE_RECOVERY_DAYS": "7"}

    def test_a_deleted_secret_can_be_restored(self, person: Person) -> None:
        """`delete` says until when, `list --deleted` finds the secret, and `restore` brings it back."""
        person.does("secret", "set", NAME, send=b"v")
        assert "can be restored until 2" in person.does("secret", "delete", NAME)
        assert person.sees("secret", "list") == []
        assert [row["name"] for row in person.sees("secret", "list", "--deleted")] == [NAME]
        assert person.does("secret", "restore", NAME) == f"restored {NAME}\n"
        assert person.does("secret", "get", NAME) == "v"

    def test_a_deleted_secret_keeps_its_name(self, person: Person, app: Flask) -> None:
        """`set` and `import` say that a name belongs to a deleted secret; `purge` frees it."""
        person.does("secret", "set", NAME, send=b"v")
        person.does("secret", "delete", NAME)
        refused = person.fails_to("secret", "set", NAME, send=b"w", code=1)
        assert f"the name {NAME} belongs to a deleted secret" in refused
        assert "Hint: bring it back with `secret-manager secret restore`, or destroy it with" in refused
        file = f'{{"{NAME}": "w", "a": "b"}}'
        command = ("secret", "import", "-", "--format", "json")
        assert "deleted secret: restore or purge it" in person.does(*command, send=file)
        result = person.try_to(*command, "--apply", send=file)
        assert result.exit_code == 1
        assert result.stdout == "1 created, 0 updated, 0 unchanged\n"
        assert f"{NAME}: the name {NAME} belongs to a deleted secret; bring it back" in result.stderr
        assert "scope" in person.fails_to("secret", "purge", NAME, code=4)
        person.environment["VAULT_TOKEN"] = make_token(app, "purger", role="admin")
        person.sit_at_terminal("<stdin>")
        assert "not purged" in person.fails_to("secret", "purge", NAME, send="n\n", code=1)
        assert person.does("secret", "purge", NAME, "--yes") == f"purged {NAME}\n"
        person.sit_at_terminal()
        person.does("secret", "set", NAME, send=b"w")
        person.does("secret", "set", NAME, send=b"x")
        assert person.does("secret", "purge", NAME, "--version", 1) == f"purged version 1 of {NAME}\n"
        refused = person.fails_to("secret", "purge", NAME, "--version", 1, code=3)
        assert f"{NAME}, version 1: " in refused


def test_a_deleted_version_is_shown(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """`describe` says which versions were deleted, as by Vault's API."""
    person.does("secret", "set", NAME, send=b"v")
    [found] = person.sees("secret", "describe", NAME)
    found["versions"][0]["deleted_at"] = "2026-11-24T15:30:00.000Z"
    monkeypatch.setattr(secrets.Secrets, "describe", lambda _self, _secret: found)
    assert person.does("secret", "describe", NAME).endswith(", deleted 2026-11-24 15:30Z\n")
