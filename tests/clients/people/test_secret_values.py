"""The commands `secret get` and `secret set`."""

import json
from base64 import b64encode
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import bearer, make_token
from tests.support.features import requires
from tests.support.lifecycle import UNKNOWN_ID, trail
from tests.support.people import Person
from tests.support.rotation import Stored
from vault.common.errors import ServiceUnavailableError
from vault.toolkit.cli import value_input
from vault.toolkit.client.secrets import Secrets

NAME = "billing/db-password"


def test_a_trailing_newline_is_part_of_a_value(person: Person) -> None:
    """A trailing newline is stored, with a note that `--quiet` leaves out."""
    result = person.try_to("secret", "set", NAME, send=b"value\n")
    assert "ends with a newline" in result.stderr
    assert person.does("secret", "get", NAME) == "value\n"
    assert person.try_to("secret", "set", NAME, "-q", send=b"value\n").stderr == ""


def test_a_value_is_typed_twice_at_a_hidden_prompt(person: Person) -> None:
    """On a terminal, the value is asked for twice, and is never shown."""
    person.sit_at_terminal("<stdin>")
    result = person.try_to("secret", "set", NAME, send="hunter2\nhunter2\n")
    assert result.exit_code == 0
    assert "hunter" not in result.output
    assert "values differ" in person.fails_to("secret", "set", NAME, send="hunter3\nhunter4\n", code=1)
    assert "there is no value" in person.fails_to("secret", "set", NAME, send="\n\n", code=1)
    assert person.does("secret", "get", NAME) == "hunter2"


def test_fields_make_an_object(person: Person, tmp_path: Path) -> None:
    """`--field` stores an object of Vault's API, of texts from hidden prompts, files and standard input."""
    person.sit_at_terminal("<stdin>")
    fields = ("--field", "username", "--field", "password")
    result = person.try_to("secret", "set", NAME, *fields, send="h\u00e4ns\nh\u00e4ns\nhunter2\nhunter2\n")
    assert result.exit_code == 0
    assert "hunter" not in result.output
    assert person.does("secret", "get", NAME) == '{"password":"hunter2","username":"h\u00e4ns"}'
    assert "there is no value" in person.fails_to("secret", "set", NAME, "--field", "a", send="\n", code=1)
    person.sit_at_terminal()
    (tmp_path / "key").write_text("a=b\n")
    person.does("secret", "set", NAME, "--field", f"key=@{tmp_path / 'key'}", "--field", "in=-", send=b"x")
    assert person.does("secret", "get", NAME) == '{"in":"x","key":"a=b\\n"}'
    assert person.does("secret", "get", NAME, "--field", "in") == "x"


@requires("dialect")
def test_fields_are_those_of_vaults_api(person: Person, client: FlaskClient) -> None:
    """Clients of Vault read the object that `--field` made."""
    person.does("secret", "set", NAME, "--field", "in=-", send=b"x")
    token = {"X-Vault-Token": person.environment["VAULT_TOKEN"]}
    read = client.get(f"/v1/secret/data/{NAME}", headers=token).get_json(force=True)
    assert read["data"]["data"] == {"in": "x"}


def test_a_field_that_is_not_text_or_too_long_is_refused(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields are texts, and the whole object has the maximum size of a value."""
    assert "UTF-8" in person.fails_to("secret", "set", NAME, "--field", "a=-", send=b"\xff", code=1)
    monkeypatch.setattr(value_input, "MAX_VALUE_BYTES", 8)
    assert "8 bytes" in person.fails_to("secret", "set", NAME, "--field", "a=-", send=b"12345678", code=1)
    assert person.calls == []


@pytest.mark.parametrize(
    "fields",
    [
        ("password=hunter2",),
        ("password=@hunter2",),
        ("password=@",),
        ("password=",),
        ("=hunter2",),
        ("\udcff=hunter2",),
        ("hunter\a=-",),
        ("hunter", "hunter=-"),
        ("a=-", "b=-"),
        ("password",),
        ("password=-", "--generate", "8"),
    ],
)
def test_a_value_is_never_the_text_of_a_field(person: Person, fields: tuple[str, ...]) -> None:
    """A value after `=` is a usage error, as are repeated fields and prompts without a terminal."""
    first, *rest = fields
    options = rest if rest[:1] == ["--generate"] else [part for field in rest for part in ("--field", field)]
    line = person.fails_to("secret", "set", NAME, "--field", first, *options, send=b"x", code=2)
    assert "hunter" not in line
    assert person.calls == []


@pytest.mark.promise("commands")
def test_a_value_is_never_an_argument(person: Person) -> None:
    """A value as an argument is a usage error that says why, and does not repeat it."""
    line = person.fails_to("secret", "set", NAME, "hunter2", code=2)
    assert "cannot be an argument" in line
    for command in (["set", "hunter*2"], ["set", f"{NAME}*hunter2"], ["get", "hunter*2"]):
        assert "hunter" not in person.fails_to("secret", *command, code=2)
    assert person.calls == []


def test_a_second_set_is_a_new_version(person: Person, stored: Stored) -> None:
    """A second `set` stores the next version; the first stays available by its number."""
    person.does("secret", "set", NAME, send=b"one")
    assert person.sees("secret", "set", NAME, "--generate", "8")[0]["version"] == 2
    assert person.does("secret", "get", NAME, "--version", "1") == "one"
    assert f"{NAME}, version 7: " in person.fails_to("secret", "get", NAME, "--version", 7, code=3)
    assert person.does("secret", "get", NAME) != "one"
    kinds = [(entry["action"], entry["status"]) for entry in trail(stored)[1:4]]
    assert kinds == [("create", "success"), ("create", "bad_request"), ("update", "success")]


def test_a_generated_value_has_letters_and_digits(person: Person) -> None:
    """`--generate` stores that many random letters and digits, and does not print them."""
    values = set()
    for number in range(3):
        output = person.does("secret", "set", f"app/{number}", "--generate", "40")
        values.add(person.does("secret", "get", f"app/{number}"))
        assert not any(value in output for value in values)
    assert len(values) == 3
    assert all(len(value) == 40 and value.isascii() and value.isalnum() for value in values)


def test_a_file_is_stored_as_it_is(person: Person, tmp_path: Path) -> None:
    """`--from-file` stores all bytes of a file, and `--out` writes them to a private one."""
    content = bytes(range(256)) + b"\n"
    (tmp_path / "in").write_bytes(content)
    person.does("secret", "set", NAME, "--from-file", tmp_path / "in")
    (tmp_path / "out").write_text("old")
    assert person.does("secret", "get", NAME, "--out", tmp_path / "out") == ""
    assert (tmp_path / "out").read_bytes() == content
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o600


def test_a_place_for_a_value_is_found_before_the_fetch(person: Person, tmp_path: Path) -> None:
    """`--out` with a device or a link, or in a missing folder, costs no fetch: it could be the last."""
    person.does("secret", "set", NAME, "--max-reads", 1, send=b"v")
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    for path in ("/dev/null", tmp_path / "link"):
        assert "regular file" in person.fails_to("secret", "get", NAME, "--out", path, code=2)
    missing = tmp_path / "a" / "b"
    error = f"error: cannot use {missing}: No such file or directory"
    assert person.fails_to("secret", "get", NAME, "--out", missing, code=1) == error
    assert (tmp_path / "link").is_symlink()
    assert person.does("secret", "get", NAME) == "v"


def test_a_file_stays_as_it_is_without_a_value(person: Person, tmp_path: Path) -> None:
    """If there is no such secret, the file of `--out` is not replaced, and no temporary file remains."""
    (tmp_path / "out").write_text("old")
    before = sorted(tmp_path.iterdir())
    person.fails_to("secret", "get", NAME, "--out", tmp_path / "out", code=3)
    assert (tmp_path / "out").read_text() == "old"
    assert sorted(tmp_path.iterdir()) == before


def test_a_dash_is_standard_input_or_output(person: Person) -> None:
    """`--from-file -` reads standard input, and `--out -` writes standard output."""
    person.does("secret", "set", NAME, "--from-file", "-", send=b"v\n")
    assert person.does("secret", "get", NAME, "--out", "-") == "v\n"


@pytest.mark.parametrize("size", [0, 1_048_577], ids=["none", "large"])
def test_a_value_has_one_byte_to_one_mebibyte(person: Person, size: int) -> None:
    """An empty value and one that no service takes are refused before anything is sent."""
    person.fails_to("secret", "set", NAME, send=b"x" * size, code=1)
    assert person.calls == []


def test_a_new_secret_gets_its_properties(person: Person) -> None:
    """`--ttl`, also called `--expires-in`, `--max-reads` and `--label` describe a secret."""
    person.does(
        *("secret", "set", NAME, "--ttl", "30d", "--max-reads", 2, "--label", "env=prod", "--label", "a=b=c"),
        send=b"v",
    )
    [found] = person.sees("secret", "describe", NAME)
    assert (found["max_reads"], found["labels"]) == (2, {"env": "prod", "a": "b=c"})
    assert found["expires_at"] is not None


def test_a_new_version_can_change_labels_and_expiry(person: Person) -> None:
    """For an existing secret, labels and expiry change with the value, and the read limit cannot."""
    person.does("secret", "set", NAME, "--label", "env=test", send=b"v")
    person.does("secret", "set", NAME, "--label", "env=prod", "--expires-in", "1h", send=b"w")
    [found] = person.sees("secret", "describe", NAME)
    assert (found["version"], found["labels"]) == (2, {"env": "prod"})
    assert found["expires_at"] is not None
    assert "read limit" in person.fails_to("secret", "set", NAME, "--max-reads", 1, send=b"x", code=1)
    assert person.does("secret", "get", NAME) == "w"


def test_a_half_done_change_is_reported(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the value is stored and its labels cannot be, the error says both."""
    person.does("secret", "set", NAME, send=b"v")

    def fail(*_: object, **__: object) -> None:
        raise ServiceUnavailableError("away")

    monkeypatch.setattr(Secrets, "update_metadata", fail)
    line = person.fails_to("secret", "set", NAME, "--label", "a=b", send=b"w", code=1)
    assert "version 2 is stored, but its labels and expiry are not: away" in line


def test_an_expected_version_prevents_lost_updates(person: Person) -> None:
    """`--expected-version` refuses if the newest version is another; 0 stands for no secret."""
    person.does("secret", "set", NAME, "--expected-version", 0, send=b"one")
    taken = person.fails_to("secret", "set", NAME, "--expected-version", 0, send=b"two", code=1)
    assert "Hint: see `secret-manager secret describe` for its newest version" in taken
    person.fails_to("secret", "set", NAME, "--expected-version", 2, send=b"two", code=1)
    person.does("secret", "set", NAME, "--expected-version", 1, send=b"two")
    assert person.does("secret", "get", NAME) == "two"


def test_a_canary_is_a_new_secret(app: Flask, client: FlaskClient, person: Person) -> None:
    """`--canary` creates a canary, which only `describe` shows, and warns where programs read by prefix."""
    person.environment["VAULT_TOKEN"] = token = make_token(app, "keeper", role="admin")
    result = person.try_to("secret", "set", NAME, "--canary", send=b"decoy")
    assert (result.stdout, result.stderr) == (f"stored version 1 of {NAME}\n", "")
    assert "canary        each read is an alarm\n" in person.does("secret", "describe", NAME)
    client.post("/vault/secret/fetch-batch", json={"name_prefix": "billing/"}, headers=bearer(token))
    result = person.try_to("secret", "set", "billing/other", "--canary", "--json", send=b"decoy")
    assert json.loads(result.stdout).keys() == {"secret_id", "version"}
    assert result.stderr.startswith("warning: In the last 30 days, a batch by prefix")
    assert "already used" in person.fails_to("secret", "set", NAME, "--canary", send=b"x", code=1)
    for arguments in ((UNKNOWN_ID,), (NAME, "--expected-version", 1)):
        person.fails_to("secret", "set", *arguments, "--canary", send=b"x", code=2)


def test_an_id_is_as_good_as_a_name(person: Person) -> None:
    """A secret can be updated and read by its ID; an unknown ID is not created."""
    [written] = person.sees("secret", "set", NAME, "--generate", 9)
    person.does("secret", "set", written["secret_id"], send=b"two")
    assert person.does("secret", "get", written["secret_id"].upper()) == "two"
    person.fails_to("secret", "set", UNKNOWN_ID, send=b"x", code=3)


def test_a_value_can_be_json(person: Person) -> None:
    """`--json` has the value as text, if it is text, and in base64."""
    [written] = person.sees("secret", "set", NAME, "--generate", 8)
    person.does("secret", "set", NAME, send="ä".encode())
    expected = {"secret_id": written["secret_id"], "name": NAME, "version": 2, "value": "ä", "base64": "w6Q="}
    assert person.sees("secret", "get", NAME) == [expected]
    person.does("secret", "set", NAME, send=b"\xff")
    assert person.sees("secret", "get", NAME)[0]["value"] is None
    assert person.does("secret", "get", NAME, "--base64") == b64encode(b"\xff").decode() + "\n"


def test_a_field_of_an_object_can_be_read(person: Person) -> None:
    """`--field` prints a text of a JSON object as it is, and everything else as JSON."""
    person.does("secret", "set", NAME, send=json.dumps({"user": "ä", "port": 1, "tags": ["a"]}).encode())
    assert person.does("secret", "get", NAME, "--field", "user") == "ä"
    assert person.does("secret", "get", NAME, "--field", "port") == "1"
    assert person.does("secret", "get", NAME, "--field", "tags") == '["a"]'
    assert "no field" in person.fails_to("secret", "get", NAME, "--field", "none", code=3)
    for value in (b"text", b"[1]"):
        person.does("secret", "set", NAME, send=value)
        assert "not a JSON object" in person.fails_to("secret", "get", NAME, "--field", "user", code=1)


def test_forms_of_a_value_are_alternatives(person: Person) -> None:
    """Two forms of a value, or two sources of one, are a usage error."""
    person.fails_to("secret", "get", NAME, "--base64", "--json", code=2)
    person.fails_to("secret", "set", NAME, "--generate", 8, "--from-file", "/dev/null", code=2)
    assert person.calls == []


def test_a_terminal_shows_text_only(person: Person) -> None:
    """On a terminal, a newline follows the value, and a value that could change the terminal is in base64."""
    person.does("secret", "set", NAME, send=b"one\n\ttwo")
    person.sit_at_terminal("<stdout>")
    assert person.does("secret", "get", NAME) == "one\n\ttwo\n"
    for value in (b"\x1b[2J", b"\xff"):
        person.does("secret", "set", NAME, send=value)
        result = person.try_to("secret", "get", NAME, "-q")
        assert (result.exit_code, result.stdout) == (0, b64encode(value).decode() + "\n")
        assert "not text for a terminal" in result.stderr


def test_what_is_missing_or_denied_has_its_exit_code(person: Person, app: Flask) -> None:
    """A missing secret is exit code 3; a missing right and an invalid token are 4, with the way out."""
    assert f"{NAME}: " in person.fails_to("secret", "get", NAME, code=3)
    person.environment["VAULT_TOKEN"] = make_token(app, "other", role="auditor")
    person.fails_to("secret", "get", NAME, code=4)
    person.environment["VAULT_TOKEN"] = "smt_invalid"
    assert "secret-manager login" in person.fails_to("secret", "get", NAME, code=4)
    person.fails_to("secret", "set", NAME, send=b"v", code=4)
