"""The operators' commands for master keys."""

import os
import pty
import random
import re
import signal
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.conftest import running_app
from tests.support.commands import Done, invoke, start_command
from tests.support.rotation import (
    Stored,
    age_claims,
    claim,
    connected,
    fill,
    held,
    new_key,
    rows,
    settings,
    table,
    text,
    under,
    values,
)
from tests.support.trail import block_trail
from tests.support.waiting import wait_until
from vault.common.errors import KeyMissingError
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, MasterKey
from vault.core.trail import reader
from vault.core.trail.writer import AuditTrail

pytestmark = pytest.mark.process

OLD, NEW, FOREIGN = (new_key() for _ in range(3))
Run = Callable[..., Done]


@pytest.fixture
def keys(mongo_uri: str, tmp_path: Path) -> Run:
    """Return a function that runs `secret-manager keys` with two keys, and checks that it shows neither."""

    def run(*arguments: str, primary: MasterKey = NEW, fallbacks: tuple[MasterKey, ...] = (OLD,)) -> Done:
        environment = settings(mongo_uri, primary, *fallbacks)
        done = invoke("keys", *arguments, environment=environment, folder=tmp_path)
        for key in (primary, *fallbacks):
            assert text(key) not in done.stdout + done.stderr
            assert key._material.hex() not in done.stdout + done.stderr
        return done

    return run


def assert_names_no_secret(done: Done, stored: Stored) -> None:
    for document in stored.secrets.find({}, {"_id": True}):
        assert document["_id"] not in done.stdout + done.stderr


def claim_at(uri: str, *keyrings: Keyring) -> None:
    """Claim as the only workers, which renew their claims: for the next hour."""
    with connected(uri), MongoClient[dict[str, Any]](uri) as client:
        age_claims(client.get_default_database(), 60_000)
        assert all(claim(keyring) for keyring in keyrings)
        age_claims(client.get_default_database(), -3_600_000)


def test_generated_keys_work_and_differ(mongo_uri: str, tmp_path: Path) -> None:
    """`generate` needs no settings and prints one new key, which works for a service."""
    made = [invoke("keys", "generate", environment={}, folder=tmp_path) for _ in range(2)]
    assert [(done.returncode, done.stderr) for done in made] == [(0, "")] * 2
    first, second = (done.stdout.removesuffix("\n") for done in made)
    assert first != second
    assert len(b64decode(first, validate=True)) == 32
    with running_app({"MASTER_KEY": first, "MONGO_URI": mongo_uri}) as app:
        assert app.test_client().post("/vault/secret/create/", json={"secret": "YQ=="}).status_code == 200


def test_status_of_an_empty_database(keys: Run) -> None:
    """Before the first secret, a fallback key may be dropped and the primary one may not."""
    done = keys("status")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "key id            role here  workers with it  encrypting  versions  may be dropped",
        f"{NEW.id}  primary    0 of 0           0 of 0      0         no, it is primary",
        f"{OLD.id}  fallback   0 of 0           0 of 0      0         yes",
    ]


def test_status_shows_the_use_of_each_key(keys: Run, stored: Stored, mongo_uri: str) -> None:
    """A fallback key may be dropped once no secret needs it and no replica encrypts with it."""
    fill(stored, OLD, 3)
    fill(stored, NEW, 2)
    claim_at(mongo_uri, Keyring(OLD, [NEW]))
    assert table(keys("status").stdout) == {
        NEW.id: ("primary", 2, "no, it is primary"),
        OLD.id: ("fallback", 3, "no, secrets need it"),
    }
    stored.secrets.delete_many({"key_id": OLD.id})
    done = keys("status")
    assert done.returncode == 0
    assert table(done.stdout)[OLD.id] == ("fallback", 0, "no, workers encrypt under it")
    age_claims(stored)
    assert table(keys("status").stdout)[OLD.id] == ("fallback", 0, "yes")


def test_status_shows_the_progress_of_a_rotation(keys: Run, mongo_uri: str) -> None:
    """The numbers of workers that hold and use a key show when a step is complete."""
    claim_at(mongo_uri, Keyring(OLD), Keyring(OLD), Keyring(OLD, [NEW]))
    found = rows(keys("status").stdout)
    assert (found[OLD.id][1:3], found[NEW.id][1:3]) == (["3 of 3", "3 of 3"], ["1 of 3", "0 of 3"])
    claim_at(mongo_uri, Keyring(OLD, [NEW]), Keyring(NEW, [OLD]), Keyring(NEW, [OLD]))
    found = rows(keys("status").stdout)
    assert (found[OLD.id][1:3], found[NEW.id][1:3]) == (["3 of 3", "1 of 3"], ["3 of 3", "2 of 3"])


def test_status_fails_while_a_key_is_missing(keys: Run, stored: Stored, mongo_uri: str) -> None:
    """A missing key that is in use is listed last, and the exit code is 1."""
    fill(stored, FOREIGN, 4)
    done = keys("status", fallbacks=())
    assert (done.returncode, done.stderr) == (1, "")
    assert list(table(done.stdout).items()) == [
        (NEW.id, ("primary", 0, "no, it is primary")),
        (FOREIGN.id, ("missing", 4, "no, secrets need it")),
    ]
    stored.secrets.delete_many({})
    claim_at(mongo_uri, Keyring(OLD))
    done = keys("status", fallbacks=())
    assert done.returncode == 1
    assert table(done.stdout)[OLD.id] == ("missing", 0, "no, workers encrypt under it")


@pytest.mark.promise("processes")
def test_status_warns_of_weak_keys(mongo_uri: str, tmp_path: Path) -> None:
    """A warning about a guessable key goes to standard error, without any part of the key."""
    weak = "00112233445566778899aabbccddeeff"
    environment = {"MASTER_KEY": text(NEW), "MASTER_KEY_FALLBACKS": weak, "MONGO_URI": mongo_uri}
    done = invoke("keys", "status", environment=environment, folder=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: a key of MASTER_KEY_FALLBACKS is 32 hexadecimal digits")
    assert weak[:8] not in done.stdout + done.stderr


def test_status_changes_nothing(keys: Run, stored: Stored) -> None:
    """On a database without a trail, `status` leaves no entry and claims no key."""
    fill(stored, OLD, 1)
    keys("status")
    assert stored.audit_logs.count_documents({}) == 0
    assert stored["keys"].count_documents({}) == 0


@pytest.mark.promise(3)
def test_status_is_on_record(keys: Run, stored: Stored, mongo_uri: str) -> None:
    """On a database with a trail, `status` leaves an entry, and shows nothing without it."""
    with connected(mongo_uri):
        write_entry(Keyring(NEW, [OLD]))
    assert keys("status").returncode == 0
    entry = stored.audit_logs.find_one({"action": "keys_status"})
    assert entry is not None
    assert (entry["principal"], entry["status"], entry["details"]) == ("operator", "success", {"keys": 2})
    block_trail(stored)
    done = keys("status")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "error: the audit trail cannot be written"


def test_status_works_although_the_trail_refuses_the_key(
    keys: Run, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that must not sign still lists the keys."""

    def refuse(*_: object) -> None:
        raise KeyMissingError

    monkeypatch.setattr(reader, "record", refuse)
    done = keys("status")
    assert done.returncode == 0
    assert NEW.id in done.stdout
    assert stored.audit_logs.count_documents({}) == 0


def write_entry(keyring: Keyring) -> None:
    worker = AuditTrail(keyring)
    worker._on_finish([(Attempt(action=Action.FETCH), Status.SUCCESS)])
    worker.disconnect()


def test_rewrap_fails_while_anything_is_left(keys: Run, stored: Stored) -> None:
    """A value that does not verify gives exit code 1 each time; a missing key does so immediately."""
    first, *_ = fill(stored, OLD, 5)
    stored.secrets.update_one({"_id": first}, {"$inc": {"version": 1}})
    for rewrapped in (4, 0):
        done = keys("rewrap")
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout == f"{rewrapped} rewrapped, 0 changed meanwhile, 1 failed, 1 left\n"
        assert_names_no_secret(done, stored)
    fill(stored, FOREIGN, 2)
    entries = stored.audit_logs.count_documents({})
    done = keys("rewrap")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"a master key in use is missing here: {FOREIGN.id}" in done.stderr
    assert stored.audit_logs.count_documents({}) == entries
    assert keys("rewrap", "--dry-run").stdout.endswith(" 1 failed, 3 left\n")


def test_a_rewrap_next_to_the_old_primary_must_be_repeated(keys: Run, stored: Stored, mongo_uri: str) -> None:
    """While some workers encrypt under another key, a rewrap succeeds, and a warning asks to repeat it."""
    fill(stored, OLD, 5)
    claim_at(mongo_uri, Keyring(OLD, [NEW]), Keyring(NEW, [OLD]))
    done = keys("rewrap")
    assert (done.returncode, done.stdout) == (0, "5 rewrapped, 0 changed meanwhile, 0 failed, 0 left\n")
    assert done.stderr == (
        f"warning: some workers still encrypt under {OLD.id}. "
        "Hint: run this again once `secret-manager keys status` shows that none of them does\n"
    )
    fill(stored, OLD, 2)
    claim_at(mongo_uri, Keyring(NEW, [OLD]))
    done = keys("rewrap")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "2 rewrapped, 0 changed meanwhile, 0 failed, 0 left\n"


def test_a_terminal_shows_rate_and_remaining_time(stored: Stored, mongo_uri: str, tmp_path: Path) -> None:
    """The bar goes to standard error alone; standard output is the one line of counts."""
    before = fill(stored, OLD, 1_000)
    terminal, end = pty.openpty()
    with start_command(
        "keys", "rewrap", environment=settings(mongo_uri, NEW, OLD), folder=tmp_path, stderr=end
    ) as process:
        os.close(end)
        shown = read_all(terminal)
        assert process.stdout is not None
        assert process.stdout.read() == "1000 rewrapped, 0 changed meanwhile, 0 failed, 0 left\n"
    assert process.returncode == 0
    assert re.search(r"Rewrapping, \d+/s  \[#+-+\] +\d+%", shown)
    assert re.search(r"Rewrapping, \d+/s  \[#+\] +100%", shown)
    assert values(stored, NEW) == before


def read_all(terminal: int) -> str:
    read = bytearray()
    try:
        while chunk := os.read(terminal, 65_536):
            read += chunk
    except OSError:  # Linux's error for a closed other end.
        pass
    os.close(terminal)
    return read.decode()


def test_a_killed_rewrap_loses_nothing(stored: Stored, mongo_uri: str, tmp_path: Path) -> None:
    """A rewrap killed at any point and run again loses no secret and encrypts none twice."""
    environment = settings(mongo_uri, NEW, OLD)
    before = fill(stored, OLD, 100)
    # The first once some work is done, the other at any point.
    for more in (1, random.randrange(1, 250)):  # noqa: S311 - not secret
        fresh = fill(stored, OLD, 400)
        before |= fresh
        wanted = under(stored, NEW) + more
        # One batch cannot be written, so the run does not complete; at least 250 are in the others. A fresh
        # secret: others may be in a batch that MongoDB writes although its process was killed.
        with (
            held(mongo_uri, stored, max(fresh)),
            start_command("keys", "rewrap", environment=environment, folder=tmp_path) as process,
        ):
            wait_until(lambda wanted=wanted: under(stored, NEW) >= wanted)
            process.kill()
        assert process.returncode == -signal.SIGKILL
        assert values(stored, NEW, OLD) == before
    done = invoke("keys", "rewrap", environment=environment, folder=tmp_path)
    assert done.returncode == 0
    assert done.stdout.endswith(" 0 changed meanwhile, 0 failed, 0 left\n")
    assert under(stored, OLD) == 0
    assert values(stored, NEW) == before


def test_a_secret_without_a_key_id_needs_every_key(stored: Stored, keys: Run) -> None:
    """If a secret has no key ID, `keys status` keeps every key that it may need."""
    [secret_id] = fill(stored, OLD, 1)
    stored.secrets.update_one({"_id": secret_id}, {"$unset": {"key_id": True}})
    assert table(keys("status").stdout)[OLD.id] == ("fallback", 0, "no, values without key ID exist")
    assert keys("rewrap").returncode == 1
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"key_id": OLD.id}})
    assert keys("rewrap").returncode == 0
    assert table(keys("status").stdout)[OLD.id] == ("fallback", 0, "yes")
