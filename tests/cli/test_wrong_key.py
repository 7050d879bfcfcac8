"""Operators' commands with a master key that is not the service's."""

from pathlib import Path
from typing import Any

import pytest

from tests.cli.command_table import ENTRIES
from tests.conftest import running_app, start
from tests.support.audit_commands import written_by
from tests.support.commands import Done, invoke
from tests.support.problems import messages_of
from tests.support.rotation import Stored, age_claims, claim, connected, fill, new_key, settings, text
from vault.core.crypto import Keyring, MasterKey
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents import registry

KEY, WRONG, NEW = (new_key() for _ in range(3))
SIGNER = SigningKey(KEY).public.signer

WRITING = [(*name.split(), *entry.arguments) for name, entry in ENTRIES.items() if entry.writes]
CREATE = ("tokens", "create", "--name", "ci", "--role", "admin")


def run(folder: Path, uri: str, *arguments: str, keys: tuple[MasterKey, ...] = (WRONG,)) -> Done:
    done = invoke(*arguments, environment=settings(uri, *keys), folder=folder)
    for key in keys:
        assert text(key) not in done.stdout + done.stderr
    return done


def everything(stored: Stored) -> dict[str, Any]:
    """Return all documents and all indexes."""
    return {
        name: (list(stored[name].find().sort("_id", 1)), stored[name].index_information())
        for name in sorted(stored.list_collection_names())
    }


@pytest.mark.promise(6)
@pytest.mark.parametrize("arguments", WRITING, ids=" ".join)
@pytest.mark.parametrize("use", ["secret", "token", "worker", "trail"])
def test_a_command_with_a_wrong_key_writes_nothing(
    mongo_uri: str, stored: Stored, tmp_path: Path, use: str, arguments: tuple[str, ...]
) -> None:
    """A command that uses a wrong key names the missing one and leaves database and folder unchanged."""
    named = SIGNER if use == "trail" else KEY.id
    if use == "secret":
        # Without indexes too: the command must not build them.
        fill(stored, KEY, 1)
    elif use == "worker":
        with connected(mongo_uri):
            assert claim(Keyring(KEY))
    elif use == "token":
        assert run(tmp_path, mongo_uri, *CREATE, keys=(KEY,)).returncode == 0
        stored.audit_logs.drop()
        stored["keys"].drop()
    else:
        written_by(mongo_uri, Keyring(KEY), 3)
    before = everything(stored)
    done = run(tmp_path, mongo_uri, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: the master key here has the ID {WRONG.id}, ")
    assert done.stderr.endswith(". Hint: set MASTER_KEY to that key\n")
    assert named in done.stderr
    assert everything(stored) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.promise(6)
def test_wrong_keys_damage_no_trail(mongo_uri: str, stored: Stored, tmp_path: Path) -> None:
    """After commands with a throwaway key, the trail has no tampering."""
    assert run(tmp_path, mongo_uri, *CREATE, keys=(KEY,)).returncode == 0
    for arguments in WRITING:
        assert run(tmp_path, mongo_uri, *arguments).returncode == 1
    done = run(tmp_path, mongo_uri, "audit", "verify", keys=(KEY,))
    assert (done.returncode, done.stdout) == (0, "1 entry in 1 stream: intact\n")
    assert stored.audit_keys.count_documents({}) == 0


def test_read_commands_work_with_an_incomplete_keyring(
    mongo_uri: str, stored: Stored, tmp_path: Path
) -> None:
    """Read-only commands still show the keys in use, the entries, and their unknown signer."""
    assert run(tmp_path, mongo_uri, *CREATE, keys=(KEY,)).returncode == 0
    before = stored.audit_logs.count_documents({})
    done = run(tmp_path, mongo_uri, "keys", "status")
    assert (done.returncode, KEY.id in done.stdout) == (1, True)
    assert run(tmp_path, mongo_uri, "audit", "tail", "--no-follow").stdout.count("token_create") == 1
    done = run(tmp_path, mongo_uri, "audit", "verify")
    assert (done.returncode, "is signed by a key that is not known" in done.stdout) == (1, True)
    assert stored.audit_logs.count_documents({}) == before


@pytest.mark.parametrize("command", ["checkpoint", "public-key"])
def test_a_wrong_key_creates_no_verification_material(mongo_uri: str, tmp_path: Path, command: str) -> None:
    """A wrong key creates neither an empty checkpoint nor useless public keys; a successor creates both."""
    written_by(mongo_uri, Keyring(KEY), 1)
    done = run(tmp_path, mongo_uri, "audit", command)
    assert (done.returncode, done.stdout) == (1, "")
    assert SIGNER in done.stderr
    # A rotation: the new key endorses the old one, and represents it once that is dropped.
    with running_app(settings(mongo_uri, NEW, KEY)) as app:
        assert app.test_client().post("/vault/secret/fetch", json={}).status_code == 422
    done = run(tmp_path, mongo_uri, "audit", command, keys=(NEW,))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_key_that_running_workers_lack_signs_nothing(
    mongo_uri: str, stored: Stored, tmp_path: Path
) -> None:
    """A command with the next key as its primary writes only once the workers hold that key."""
    with connected(mongo_uri):
        assert claim(Keyring(KEY))
    done = run(tmp_path, mongo_uri, "tokens", "list", keys=(NEW, KEY))
    assert (done.returncode, NEW.id in done.stderr) == (1, True)
    assert stored.audit_logs.count_documents({}) == 0
    age_claims(stored)
    assert run(tmp_path, mongo_uri, "tokens", "list", keys=(NEW, KEY)).returncode == 0


@pytest.mark.promise(6)
def test_the_signer_of_an_emptied_database_is_in_use(mongo_uri: str, stored: Stored) -> None:
    """If only the trail is left, a service needs its signing key, or one that endorses it."""
    written_by(mongo_uri, Keyring(KEY), 1)
    before = everything(stored)
    with running_app(settings(mongo_uri, WRONG)) as app:
        client = app.test_client()
        assert client.post("/vault/secret/create/", json={"secret": "YQ=="}).status_code == 503
        errors = messages_of(client.get("/health/ready").json)
        [reason] = errors["keys"]
        assert WRONG.id in reason
        assert SIGNER in reason
    assert everything(stored) == before
    # A rotation: the new key endorses the old one, and represents it once that is dropped.
    for keys in ((NEW, KEY), (NEW,)):
        with running_app(settings(mongo_uri, *keys)) as app:
            client = app.test_client()
            assert client.post("/vault/secret/fetch", json={}).status_code == 422
    with running_app(settings(mongo_uri, KEY)) as app:
        start(app)
        assert app.test_client().get("/health/ready").status_code == 503


@pytest.mark.parametrize("recorded", [None, "text", {"signer": None}, {"signer": ["x"]}], ids=str)
def test_a_trail_of_an_earlier_version_names_its_signer(
    mongo_uri: str, stored: Stored, recorded: Any
) -> None:
    """Without a record, the newest entries name the signer; one entry of a wrong key blocks no command."""
    for keys in ((KEY,), (WRONG,)):
        stored["keys"].drop()
        written_by(mongo_uri, Keyring(*keys), 1) if keys == (KEY,) else taint(mongo_uri, stored)
    stored["keys"].update_one({"_id": "claims"}, {"$set": {"trail": recorded, "workers": []}}, upsert=True)
    with running_app(settings(mongo_uri, NEW)) as app:
        start(app)
        assert app.test_client().get("/health/ready").status_code == 503
    with running_app(settings(mongo_uri, KEY)) as app:
        start(app)
        assert app.test_client().get("/health/ready").status_code == 200
    with connected(mongo_uri):
        assert registry.trail_state().signer == SIGNER


def taint(uri: str, stored: Stored) -> None:
    """Add an entry signed with the wrong key, as earlier versions did."""
    earlier = list(stored.audit_logs.find())
    stored.audit_logs.delete_many({})
    written_by(uri, Keyring(WRONG), 1)
    stored.audit_logs.insert_many(earlier)
