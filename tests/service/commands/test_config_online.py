"""`config check --online`: what the settings lead to, which the check does not change."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.service.commands.test_config import found
from tests.support.commands import Done, invoke
from tests.support.rotation import Stored, claim, connected, fill, new_key, settings
from vault.core.crypto import Keyring
from vault.core.documents import Database
from vault.core.documents.primary import Primary
from vault.core.documents.registry import begin_restore

KEY, FOREIGN = new_key(), new_key()
VALID = "the service would start with these settings"

Check = Callable[..., Done]


@pytest.fixture
def check(tmp_path: Path, mongo_uri: str) -> Check:
    """Return a function that checks settings for the test's database, or others in place of these."""

    def run(**others: str) -> Done:
        environment = {**settings(mongo_uri, KEY), "AUTH_ENABLED": "true", **others}
        return invoke("config", "check", "--online", environment=environment, folder=tmp_path)

    return run


def test_the_keys_of_a_database_are_counted(check: Check, mongo_uri: str, stored: Stored) -> None:
    """It says how many workers encrypt under the key, and stores nothing, not even a claim."""
    done = check()
    answers, key = "MONGO_URI: MongoDB answers", f"the key {KEY.id} encrypts in"
    assert found(done, "ok") == [answers, f"MASTER_KEY: {key} 0 of 0 workers", VALID]
    assert found(done, "warning") == ["MongoDB's replica set has 1 member: no node may be lost"]
    assert done.returncode == 3
    assert [stored[name].count_documents({}) for name in ("audit_logs", "keys")] == [0, 0]
    with connected(mongo_uri):
        claim(Keyring(KEY))
        claim(Keyring(KEY))
        assert found(check(), "ok")[1] == f"MASTER_KEY: {key} 2 of 2 workers"


def test_another_key_is_wrong(check: Check, stored: Stored) -> None:
    """If secrets need a key that the settings lack, the check names it."""
    fill(stored, FOREIGN, 1)
    done = check()
    [wrong] = found(done, "wrong")
    assert done.returncode == 1
    assert wrong.startswith("MASTER_KEY: ")
    assert FOREIGN.id in wrong


def test_all_that_the_database_refuses_is_wrong(check: Check, mongo_uri: str, stored: Stored) -> None:
    """Wrong keys, lost settings and an unfinished restore are named at once; that is about no setting."""
    fill(stored, FOREIGN, 1)
    with connected(mongo_uri):
        assert begin_restore("a backup", audit_enabled=True, auth_enabled=True)
    wrong = found(check(AUDIT_ENABLED="false", AUTH_ENABLED="false"), "wrong")
    restore, *settings_of_others = [text.partition(": ")[0] for text in wrong]
    assert restore.startswith("a restore into this database is incomplete")
    assert settings_of_others == ["MASTER_KEY", "AUTH_ENABLED", "AUDIT_ENABLED"]


@pytest.mark.parametrize("name", ["AUDIT_ENABLED", "AUTH_ENABLED"])
def test_a_state_that_the_database_refuses_is_wrong(check: Check, stored: Stored, name: str) -> None:
    """What the database was served with is compared with the settings."""
    stored["keys"].insert_one(
        {"_id": "claims", "workers": [], "auth": {"enabled": True}, "trail": {"enabled": True}}
    )
    assert found(check(), "wrong") == []
    [wrong] = found(check(**{name: "false"}), "wrong")
    assert wrong.startswith(f"{name}: ")


def test_a_user_whom_mongodb_refuses_is_wrong(check: Check, mongo_uri: str) -> None:
    """The check names the command that creates the user, and does not say that the service would start."""
    done = check(MONGO_URI=mongo_uri.replace("mongodb://", "mongodb://unknown:wrong@"))
    [wrong] = found(done, "wrong")
    assert wrong.startswith("MONGO_URI: MongoDB refuses the user or the password")
    assert wrong.endswith("; run `secret-manager replicaset grant`")
    assert found(done, "ok") == []


def test_a_mongodb_that_does_not_answer_is_wrong(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check says which servers it asked, without a password."""
    monkeypatch.setattr("vault.core.documents.database.OPERATION_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr("vault.core.documents.members._TIMEOUT_MILLISECONDS", 50)
    done = check(MONGO_URI="mongodb://me:hunter2@127.0.0.1:1/vault")
    [wrong] = found(done, "wrong")
    assert wrong.startswith("MONGO_URI: MongoDB is not available: 127.0.0.1:1: ")
    assert "hunter2" not in done.stdout
    assert done.returncode == 1


def test_a_keyring_file_that_cannot_be_opened_is_wrong(check: Check) -> None:
    """The keys of a keyring file are opened first; without the file, nothing else is asked."""
    [wrong] = found(check(MASTER_KEY="", MASTER_KEYRING_FILE="/nowhere/keyring.json"), "wrong")
    assert wrong.startswith("MASTER_KEY: ")
    assert "/nowhere/keyring.json" in wrong


@pytest.mark.parametrize(("seconds", "result"), [(20, "warning"), (400, "wrong")])
def test_a_wrong_clock_is_found(
    check: Check, monkeypatch: pytest.MonkeyPatch, seconds: int, result: str
) -> None:
    """A clock that differs from MongoDB's is a warning, and if the service would not serve, wrong."""
    ping = Database.ping

    def late(database: Database) -> Primary:
        primary, by = ping(database), timedelta(seconds=seconds)
        return replace(primary, asked_at=primary.asked_at + by, answered_at=primary.answered_at + by)

    monkeypatch.setattr(Database, "ping", late)
    assert found(check(), result)[0].startswith("this machine's clock is ")


def test_nothing_is_asked_with_invalid_settings(check: Check) -> None:
    """With a wrong setting, the check does not ask MongoDB."""
    assert found(check(LOG_LEVEL="loud"), "ok") == []
