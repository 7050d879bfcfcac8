"""The command `secret edit`."""

import os
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from tests.support.access import make_token
from tests.support.lifecycle import trail
from tests.support.people import Person
from tests.support.rotation import Stored
from vault.clients.people import memory_folder, secret_edit
from vault.common.errors import ServiceRefusedError, ServiceUnavailableError
from vault.toolkit.client.secrets import Secrets, Written

pytestmark = pytest.mark.process

NAME = "billing/db-password"


@pytest.fixture
def editor(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Return a patch of the environment, which has no editor yet."""
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def write_script(folder: Path, *lines: str) -> str:
    """Write an editor of *lines* of a shell; return its command."""
    script = folder / "my editor"
    script.write_text("\n".join(["#!/bin/sh -e", *lines]))
    script.chmod(0o700)
    return f"'{script}'"


@pytest.mark.promise("commands")
def test_an_edited_value_is_the_next_version(
    person: Person, editor: pytest.MonkeyPatch, stored: Stored, tmp_path: Path
) -> None:
    """The editor gets a private file in memory and no token; neither the file nor its copies stay."""
    person.does("secret", "set", NAME, send=b"hunter2")
    about = tmp_path / "about"
    editor.setenv("EDITOR", "false")
    editor.setenv(
        "VISUAL",
        write_script(
            tmp_path,
            f'stat -c "%a %n" "$1" > {about}; stat -f -c %T "$1" >> {about}; env >> {about}',
            'cp "$1" "$1~"; mkdir "$1.d"; sed -i s/hunter2/hunter3/ "$1"',
        ),
    )
    assert person.does("secret", "edit", NAME) == f"stored version 2 of {NAME}\n"
    assert person.does("secret", "get", NAME) == "hunter3"
    mode_and_path, kind, *environment = about.read_text().splitlines()
    mode, path = mode_and_path.split(maxsplit=1)
    assert (mode, kind) == ("600", "tmpfs")
    assert not Path(path).parent.exists()
    assert not any(line.startswith("VAULT_TOKEN=") for line in environment)
    assert [entry["action"] for entry in trail(stored)][-3:-1] == ["fetch", "update"]


def test_without_a_change_nothing_is_stored(person: Person, editor: pytest.MonkeyPatch) -> None:
    """An unchanged value, or one to which the editor added the last newline only, is no new version."""
    person.does("secret", "set", NAME, send=b"hunter2")
    for command in ("true", "sed -i '$a\\'"):
        editor.setenv("EDITOR", command)
        assert person.does("secret", "edit", NAME) == "no change, so nothing was stored\n"
        assert person.sees("secret", "edit", NAME)[0]["version"] == 1
    person.does("secret", "set", NAME, "-q", send=b"line\n")
    editor.setenv("EDITOR", "sed -i s/line/other/")
    person.does("secret", "edit", NAME)
    assert person.does("secret", "get", NAME) == "other\n"
    assert "/vault/secret/update" not in person.calls[:5]


def test_a_version_that_came_meanwhile_stays(person: Person, editor: pytest.MonkeyPatch, app: Flask) -> None:
    """If another version is the newest by now, the edit is refused; without the scope, nothing is read."""
    person.does("secret", "set", NAME, send=b"hunter2")
    run = secret_edit._run

    def edit_meanwhile(command: list[str]) -> None:
        run(command)
        if person.does("secret", "get", NAME) == "hunter2":
            person.does("secret", "set", NAME, send=b"meanwhile")

    editor.setattr(secret_edit, "_run", edit_meanwhile)
    editor.setenv("EDITOR", "sed -i s/$/x/")
    line = person.fails_to("secret", "edit", NAME, code=1)
    assert f"{NAME} changed while you edited version 1" in line
    assert person.does("secret", "get", NAME) == "meanwhile"
    person.environment["VAULT_TOKEN"] = make_token(app, "reader", scopes=("secret:fetch",))
    del person.calls[:]
    assert "lacks the scope secret:update" in person.fails_to("secret", "edit", NAME, code=4)
    assert person.calls == ["/vault/token/self"]
    person.environment["VAULT_TOKEN"] = ""
    person.fails_to("secret", "edit", NAME, code=4)


def test_a_text_that_was_not_stored_can_be_opened_again(
    person: Person, editor: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a terminal, neither another version nor a refusal loses the text, unless the user says so."""
    person.does("secret", "set", NAME, "-q", send=b"hunter2")
    seen = tmp_path / "seen"
    editor.setenv("EDITOR", write_script(tmp_path, f'cat "$1" >> {seen}', 'printf x >> "$1"'))
    update = Secrets.update
    outcomes: list[Any] = [b"meanwhile", ServiceRefusedError("no", status=429, code="rate_limited"), None]

    def next_outcome(secrets: Secrets, *arguments: Any, **options: Any) -> Written:
        outcome = outcomes.pop(0)
        if isinstance(outcome, bytes):
            update(secrets, {"name": NAME}, outcome)
        elif outcome:
            raise outcome
        return update(secrets, *arguments, **options)

    editor.setattr(Secrets, "update", next_outcome)
    person.sit_at_terminal("<stdin>")
    done = person.try_to("secret", "edit", NAME, send=b"y\n\n")
    assert done.stdout == f"stored version 3 of {NAME}\n"
    assert "replace the newest version?" in done.stderr
    assert person.does("secret", "get", NAME) == "hunter2xxx"
    assert seen.read_text() == "hunter2hunter2xhunter2xx"
    outcomes.append(ServiceUnavailableError("down"))
    assert person.try_to("secret", "edit", NAME, send=b"n\n").exit_code == 5
    editor.setenv("EDITOR", "false")
    assert "false ended" in person.fails_to("secret", "edit", NAME, code=1)


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("false", "false ended with exit code 1, so nothing was stored"),
        ("truncate -s 0", "the value is empty, so nothing was stored"),
        ("truncate -s 2M", "more than 1048576 bytes"),
        ("rm", "No such file"),
        ("'nano", "EDITOR cannot be read"),
        ("no-such-editor", "there is no program no-such-editor"),
    ],
)
def test_a_failed_edit_stores_nothing(
    person: Person, editor: pytest.MonkeyPatch, command: str, problem: str
) -> None:
    """If the editor fails, or leaves no value, nothing is stored; without an editor nothing is read."""
    person.does("secret", "set", NAME, send=b"hunter2")
    del person.calls[:]
    editor.setenv("EDITOR", command)
    assert problem in person.fails_to("secret", "edit", NAME, code=1)
    calls = ["/vault/token/self", "/vault/secret/fetch-batch"]
    assert person.calls == ([] if "there is" in problem or "cannot be" in problem else calls)
    assert person.does("secret", "get", NAME) == "hunter2"


def test_only_text_is_edited_and_only_in_memory(
    person: Person, editor: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Binary values are refused; without a place in memory nothing is read; the default editor is vi."""
    editor.setenv("EDITOR", "true")
    for value in (b"\xff", b"a\0"):
        person.does("secret", "set", NAME, "-q", send=value)
        assert "the value is not text" in person.fails_to("secret", "edit", NAME, code=1)
    person.fails_to("secret", "edit", "none", code=3)
    person.does("secret", "set", NAME, send=b"hunter2")
    editor.delenv("EDITOR")
    (tmp_path / "vi").write_text('#!/bin/sh\nprintf text > "$1"\n')
    (tmp_path / "vi").chmod(0o700)
    editor.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    person.does("secret", "edit", NAME)
    assert person.does("secret", "get", NAME) == "text"
    del person.calls[:]
    editor.setattr(memory_folder, "_IN_MEMORY", set())
    assert "no place in memory" in person.fails_to("secret", "edit", NAME, code=1)
    assert person.calls == []
