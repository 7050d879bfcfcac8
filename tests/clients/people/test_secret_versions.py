"""The commands `secret history` and `secret diff`."""

import json
from typing import Any

import pytest
from flask import Flask

from tests.support.dialect import DialectClient
from tests.support.features import requires
from tests.support.people import Person

NAME = "billing/db-password"


def store(person: Person, *values: Any) -> None:
    """Store *values* as versions, as JSON unless they are bytes."""
    for value in values:
        sent = value if isinstance(value, bytes) else json.dumps(value)
        person.does("secret", "set", NAME, "-q", send=sent)


@requires("dialect")
def test_a_history_has_every_version_and_its_state(person: Person, app: Flask) -> None:
    """`history` lists the versions, the newest first, also deleted and purged ones, without values."""
    store(person, b"hunter1", b"hunter2", b"hunter3", b"hunter4")
    root = DialectClient.of(app)
    assert root.ask("POST", f"secret/delete/{NAME}", {"versions": [2]}).status_code == 204
    assert root.ask("POST", f"secret/destroy/{NAME}", {"versions": [1]}).status_code == 204
    lines = person.does("secret", "history", NAME).splitlines()
    assert lines[0].split() == ["version", "state", "created", "deleted"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["4", "current"],
        ["3", "replaced"],
        ["2", "deleted"],
        ["1", "purged"],
    ]
    assert "hunter" not in "\n".join(lines)
    rows = person.sees("secret", "history", NAME)
    assert [row["version"] for row in rows] == [4, 3, 2, 1]
    assert [bool(row["created_at"]) for row in rows] == [True, True, True, False]
    person.fails_to("secret", "history", "none", code=3)


def test_a_diff_names_members_and_hides_values(person: Person) -> None:
    """`diff` of JSON objects says which members changed; only `--show-values` shows values."""
    store(
        person,
        {"user": "a", "password": "hunter1", "port": 1},
        {"user": "a", "password": "hunter2", "db": {}},
    )
    lines = ["db: added", "password: changed", "port: removed"]
    assert person.does("secret", "diff", NAME, 1, 2).splitlines() == lines
    [found] = person.sees("secret", "diff", NAME, 1, 2)
    assert found["versions"] == [1, 2]
    assert found["changes"][1] == {"member": "password", "change": "changed"}
    shown = person.does("secret", "diff", NAME, 1, 2, "--show-values").splitlines()
    assert shown == ["db: added, {}", 'password: changed, "hunter1" → "hunter2"', "port: removed, 1"]
    [found] = person.sees("secret", "diff", NAME, 2, 1, "--show-values")
    assert found["changes"][2] == {"member": "port", "change": "added", "after": 1}


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (b"hunter1", b"hunter1", "no difference"),
        (b"hunter1", b"hunter\n2", 'the value: changed, "hunter1" → "hunter\\n2"'),
        (b"\xff", b'{"a": 1}', 'the value: changed, "base64:/w==" → "{\\"a\\": 1}"'),
        (b"[1]", b"[2]", 'the value: changed, "[1]" → "[2]"'),
        (b'{"a":1}', b'{"a": 1}', 'the value: reformatted, "{\\"a\\":1}" → "{\\"a\\": 1}"'),
    ],
)
def test_a_diff_of_other_values_is_about_the_whole(
    person: Person, before: bytes, after: bytes, line: str
) -> None:
    """Values that are not both JSON objects are compared as a whole, byte for byte."""
    store(person, before, after)
    assert person.does("secret", "diff", NAME, 1, 2, "--show-values") == f"{line}\n"
    assert person.does("secret", "diff", NAME, 1, 2) == f"{line.partition(',')[0]}\n"


def test_a_diff_of_a_version_that_is_gone_is_not_found(person: Person) -> None:
    """Without one of the versions, `diff` prints nothing of the other, and exits with 3."""
    store(person, b"hunter1")
    assert "version 2" in person.fails_to("secret", "diff", NAME, 1, 2, code=3)
    person.fails_to("secret", "diff", NAME, 0, 1, code=2)
