"""`keys copy`, and the way back from a copy to the key."""

import json
import re
import subprocess
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
from click.testing import CliRunner, Result
from pyrage.x25519 import Identity

from tests.support.leaks import Marks
from tests.support.rotation import Stored, new_key, settings, text
from tests.support.system import needs
from tests.support.trail import block_trail
from vault.cli import commands
from vault.core.crypto import MasterKey
from vault.core.crypto.shares import Group, split
from vault.features.copies import commands as copies

KEY = new_key()

Run = Callable[..., Result]


@pytest.fixture
def run(mongo_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command of `keys` in an empty folder, with the settings of a service."""
    monkeypatch.chdir(tmp_path)
    environment = settings(mongo_uri, KEY)

    def run(*arguments: str, given: str = "", code: int = 0) -> Result:
        done = CliRunner(env=environment).invoke(
            commands, ["keys", *arguments], input=given, prog_name="secret-manager"
        )
        assert done.exit_code == code, done.output
        return done

    return run


@pytest.fixture
def trail(stored: Stored) -> Callable[[], list[dict[str, Any]]]:
    """Begin a trail, and return the function that returns the entries of copies."""
    done = CliRunner(env=settings_of(stored)).invoke(commands, ["audit", "enable"])
    assert done.exit_code == 0, done.output
    return lambda: list(stored.audit_logs.find({"action": "key_copied"}).sort("ts", 1))


def settings_of(stored: Stored) -> dict[str, str]:
    """Return the settings of a service on *stored*."""
    host, port = stored.client.address
    return settings(f"mongodb://{host}:{port}/{stored.name}", KEY)


def test_a_file_opens_with_each_identity_only(run: Run, trail: Callable[[], list[dict[str, Any]]]) -> None:
    """The file is text, has the key for each recipient's identity and no other, and is on record."""
    first, second = Identity.generate(), Identity.generate()
    recipients = [str(first.to_public()), str(second.to_public())]
    done = run("copy", "--recipient", recipients[0], "--recipient", recipients[1])
    assert done.stdout.startswith("-----BEGIN AGE ENCRYPTED FILE-----\n")
    assert done.stderr == f"this is key {KEY.id}\n"
    assert not Marks(key=KEY._material).found(done.output)
    for identity in (first, second):
        opened = pyrage.decrypt(done.stdout.encode(), [identity])
        assert opened.decode() == text(KEY)
        assert run("identify", given=f"{opened.decode()}\n").stdout == f"{KEY.id}\n"
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(done.stdout.encode(), [Identity.generate()])
    [entry] = trail()
    assert (entry["principal"], entry["status"]) == ("operator", "success")
    assert entry["details"] == {"key_id": KEY.id, "form": "age", "holders": recipients}


@pytest.mark.process
def test_age_opens_the_file(run: Run, tmp_path: Path) -> None:
    """The program age itself decrypts the file with the identity that age-keygen made."""
    needs("age")
    subprocess.run(["age-keygen", "-o", "identity.txt"], check=True, capture_output=True)
    [recipient] = re.findall("public key: (.*)", Path("identity.txt").read_text())
    (tmp_path / "master-key.age").write_text(run("copy", "--recipient", recipient, "-q").stdout)
    command = ["age", "--decrypt", "--identity", "identity.txt", "master-key.age"]
    opened = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert run("identify", given=opened).stdout == f"{KEY.id}\n"


def test_shares_restore_the_key(run: Run, trail: Callable[[], list[dict[str, Any]]]) -> None:
    """Any two of three files restore the key, one does not, and the copy is on record."""
    done = run("copy", "--threshold", "2", "--shares", "3", "--out-dir", "out", "--json")
    assert json.loads(done.stdout) == {"key_id": KEY.id, "shares": 3}
    words = [file.read_text() for file in sorted(Path("out").iterdir())]
    assert "too few" in run("combine", given=words[0], code=1).stderr
    found = run("combine", given="".join(words[1:]))
    assert (found.stdout, found.stderr) == (f"{text(KEY)}\n", f"this is key {KEY.id}\n")
    [entry] = trail()
    assert entry["details"] == {"key_id": KEY.id, "form": "shares", "holders": ["2 of 3"]}
    run("copy", "--group", "safe=1/1", "--group", "people=2/3", "--out-dir", "groups")
    assert trail()[-1]["details"]["holders"] == ["safe 1 of 1 and people 2 of 3"]


def test_nothing_is_copied_without_its_entry(
    run: Run, trail: Callable[[], list[dict[str, Any]]], stored: Stored
) -> None:
    """While the trail cannot be written, there is neither a file nor a share."""
    block_trail(stored)
    recipient = str(Identity.generate().to_public())
    for form in (("--recipient", recipient), ("--threshold", "2", "--shares", "3", "--out-dir", "out")):
        done = run("copy", *form, code=1)
        assert (done.stdout, done.stderr) == ("", "error: the audit trail cannot be written\n")
    assert not Path("out").exists()
    assert trail() == []


@pytest.mark.parametrize("place", [".", "no/such"])
def test_without_a_place_no_copy_is_on_record(
    run: Run, trail: Callable[[], list[dict[str, Any]]], place: str
) -> None:
    """A folder that exists, or cannot be made, is refused before the entry."""
    done = run("copy", "--threshold", "2", "--shares", "3", "--out-dir", place, code=2)
    assert "--out-dir must be a new folder" in done.stderr
    assert trail() == []


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--recipient", "AGE", "--threshold", "2", "--shares", "3"),
        ("--recipient", "age1nonsense"),
        ("--recipient", "AGE-SECRET-KEY-1"),
        ("--threshold", "2", "--shares", "3"),
    ],
    ids=" ".join,
)
def test_unclear_arguments_are_refused(run: Run, arguments: tuple[str, ...]) -> None:
    """No form, two forms, what is no public key, and shares without a terminal are wrong arguments."""
    recipient = str(Identity.generate().to_public())
    done = run("copy", *(recipient if one == "AGE" else one for one in arguments), code=2)
    assert "nonsense" not in done.output


def test_impossible_shares_are_refused(run: Run) -> None:
    """More shares needed than there are is an error, before anything is on record."""
    assert "cannot split" in run("copy", "--threshold", "4", "--shares", "3", "--out-dir", "o", code=1).stderr


def test_other_shares_are_no_master_key(run: Run) -> None:
    """Shares of a shorter secret are refused."""
    (made,) = split(bytes(16), [Group(2, 2)], 1)
    assert "not shares of a master key" in run("combine", given="\n".join(made), code=1).stderr


def test_a_key_is_identified(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key on standard input, or typed, gives its ID; anything else is refused without being quoted."""
    other = MasterKey(bytes(range(32)))
    assert json.loads(run("identify", "--json", given=text(other)).stdout) == {"key_id": other.id}
    refused = run("identify", given="hunter2", code=1)
    assert refused.stderr.startswith("error: a master key must be the base64 of 32 bytes")
    assert "hunter2" not in refused.stderr
    monkeypatch.setattr(copies, "_is_terminal", lambda: True)
    typed = run("identify", given=f"{b64encode(bytes(range(32))).decode()}\n")
    assert typed.stdout == f"{other.id}\n"
