"""Backup, restore and drill."""

import errno
import os
import pty
import re
import secrets
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from tests.conftest import running_app
from tests.support.access import bearer, make_token
from tests.support.access_control import Client, locked_mongod
from tests.support.access_roles import make_issuer, make_role
from tests.support.audit_commands import written_by
from tests.support.commands import Done, command_environment, invoke, run_command_into, start_command
from tests.support.databases import history
from tests.support.features import requires
from tests.support.issuer import public_pem
from tests.support.rotation import Stored, connected, fill, new_key, settings, text, versioned
from tests.support.service import Service
from tests.support.trail import block_trail
from tests.support.waiting import wait_until
from tests.support.written_trail import as_stored, rechain, rehash, stream_of
from vault import cli
from vault.common.errors import StorageUnavailableError
from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.crypto.token_key import TokenKey
from vault.core.documents import Database, Token, registry
from vault.features.backup import drill as drills
from vault.features.backup import restore as restores
from vault.features.backup.commands.files import _new_file, _standard_output
from vault.features.backup.errors import BackupRefusedError, InvalidBackupError

pytestmark = pytest.mark.process

OLD, NEW, FOREIGN = (new_key() for _ in range(3))
Run = Callable[..., Done]


@pytest.fixture
def environment(mongo_uri: str) -> Iterator[dict[str, str]]:
    """Return settings with a new and an old key, on a MongoDB that keeps its history."""
    with history(mongo_uri):
        yield settings(mongo_uri, NEW, OLD)


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Run:
    """Return what runs a command in a folder of its own."""

    def command(name: str, *arguments: object, **changes: str) -> Done:
        return invoke(name, *arguments, environment=environment | changes, folder=tmp_path)

    return command


@pytest.fixture
def restored(mongo_uri: str) -> Iterator[Stored]:
    """Return another, empty database on the same server; it is dropped afterwards."""
    with MongoClient[dict[str, Any]](mongo_uri, tz_aware=True) as client:
        name = f"{client.get_default_database().name}_restored"
        yield client[name]
        client.drop_database(name)


def uri_of(environment: dict[str, str], database: Stored) -> str:
    return re.sub(r"/[^/?]+\?", f"/{database.name}?", environment["MONGO_URI"])


def drill_databases(stored: Stored) -> list[str]:
    return [name for name in stored.client.list_database_names() if name.startswith("drill_")]


def test_an_unreadable_file_is_reported(command: Run, tmp_path: Path, stored: Stored) -> None:
    """A file that is not a backup, is damaged, or needs another key gives one line; nothing is written."""
    fill(stored, OLD, 5)
    assert command("backup", "b.tar").returncode == 0
    (tmp_path / "none.tar").write_bytes(b"something else")
    content = bytearray((tmp_path / "b.tar").read_bytes())
    with tarfile.open(tmp_path / "b.tar") as opened:
        content[opened.getmember("secrets.bson.gz").offset_data] ^= 1
    (tmp_path / "damaged.tar").write_bytes(content)
    before, other = set(stored.client.list_database_names()), new_key()
    for name in ("restore", "drill"):
        for file, problem in (("none.tar", "this is not a backup"), ("damaged.tar", "the backup is damaged")):
            done = command(name, file)
            assert done.returncode == 1
            assert done.stderr.startswith(f"error: {problem}")
        done = command(name, "b.tar", MASTER_KEY_FALLBACKS="")
        assert done.returncode == 1
        assert f"missing here: {OLD.id}. Hint: add them" in done.stderr
        done = command(name, "b.tar", MASTER_KEY=text(other), MASTER_KEY_FALLBACKS="")
        assert done.returncode == 1
        assert all(key.id in done.stderr for key in (other, NEW, OLD))
        assert "add them" not in done.stderr
    assert set(stored.client.list_database_names()) == before


def test_a_link_created_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """A link created during the backup is refused too, and its target keeps its content."""
    path, target = tmp_path / "b.tar", tmp_path / "target"
    target.write_bytes(b"precious")
    with (
        pytest.raises(BackupRefusedError, match="not a regular file"),
        _new_file(path, overwrite=True) as file,
    ):
        file.write(b"new")
        path.symlink_to(target)
    assert path.is_symlink()
    assert target.read_bytes() == b"precious"
    assert sorted(tmp_path.iterdir()) == [path, target]


def test_a_service_continues_from_a_backup(
    environment: dict[str, str], command: Run, restored: Stored, tmp_path: Path
) -> None:
    """Values, names, tokens, repeated creates and the trail are restored unchanged and keep working."""
    secured = environment | {"AUTH_ENABLED": "true", "WEB_CONCURRENCY": "1"}
    create, fetch = "/vault/secret/create", "/vault/secret/fetch"
    with running_app(environment) as app:
        token = bearer(make_token(app, "ci", role="writer"))
        revoked = bearer(make_token(app, "old", role="writer"))
    assert invoke("tokens", "revoke", "old", environment=environment, folder=tmp_path).returncode == 0
    named = {"secret": b64encode(b"value").decode(), "name": "db"}
    repeated = {**token, "Idempotency-Key": "a-key"}
    with Service(secured, patient=True, folder=tmp_path) as service:
        assert service.post(create, named, **token).status == 200
        created = service.post(create, {"secret": "YQ=="}, **repeated).body
        assert service.post("/vault/secret/update", {"name": "db", "secret": "bmV3"}, **token).status == 200
    made = command("backup", "b.tar")
    assert (made.returncode, made.stderr) == (0, "")
    assert re.fullmatch(r"2 secrets, 2 tokens and 7 audit entries in b\.tar, [\d,]+ bytes\n", made.stdout)
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    there = {"MONGO_URI": uri_of(environment, restored)}
    done = command("restore", "b.tar", **there)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("2 secrets, 2 tokens and 7 audit entries restored, as of 20")
    with Service(secured | there, patient=True, folder=tmp_path) as service:
        assert service.post(fetch, {"name": "db"}, **token).body == {"secret": "bmV3"}
        assert service.post(fetch, {"name": "db", "version": 1}, **token).body == {"secret": named["secret"]}
        assert service.post(create, {"secret": "YQ=="}, **repeated).body == created
        assert service.post(create, named, **token).status == 409
        assert service.post(fetch, {"name": "db"}, **revoked).status == 401
    with tarfile.open(tmp_path / "b.tar") as opened:
        opened.extract("manifest.json", tmp_path, filter="data")
    verified = invoke(
        "audit",
        "verify",
        "--checkpoint",
        "manifest.json",
        environment=environment | there,
        folder=tmp_path,
    )
    assert (verified.returncode, verified.stderr.strip()) == (0, "")
    assert re.fullmatch(r"1[0-9] entries in \d streams: intact\n", verified.stdout)


@pytest.mark.promise(3)
def test_the_role_of_the_service_is_enough(tmp_path: Path) -> None:
    """A backup and a restore need no more of MongoDB than the service's own user may do."""
    with locked_mongod(tmp_path) as locked, Client(locked.root) as root:

        def run(*arguments: str) -> str:
            done = invoke(*arguments, environment=settings(locked.uri(), NEW), folder=tmp_path)
            assert done.returncode == 0, done.stderr
            return done.stdout

        run("tokens", "create", "--name", "ci", "--role", "reader")
        run("backup", "b.tar")
        for name in root.vault.list_collection_names():
            root.vault[name].delete_many({})
        assert "restored, as of" in run("restore", "b.tar")
        assert "intact" in run("audit", "verify")


def test_what_must_not_act_in_a_copy_is_changed(
    environment: dict[str, str], command: Run, restored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a restore, each kind of sealed documents changes its own, and has the key to seal them."""
    keys: list[TokenKey] = []
    monkeypatch.setattr(restores, "kinds", lambda: [SimpleNamespace(after_restore=keys.append)])
    with running_app(environment) as app:
        make_token(app, "ci", role="reader")
    assert command("backup", "b.tar").returncode == 0
    assert command("restore", "b.tar", MONGO_URI=uri_of(environment, restored)).returncode == 0
    [key], [token] = keys, restored.tokens.find()
    assert Token.genuine(token, key)


def test_a_backup_overwrites_no_file(command: Run, stored: Stored, tmp_path: Path) -> None:
    """An existing file stays unchanged, unless the operator allows overwriting."""
    fill(stored, OLD, 1)
    (tmp_path / "b.tar").write_bytes(b"precious")
    done = command("backup", "b.tar")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: b.tar exists. Hint: use --overwrite to replace it\n"
    assert (tmp_path / "b.tar").read_bytes() == b"precious"
    assert command("backup", "--overwrite", "b.tar").returncode == 0
    assert command("drill", "b.tar").returncode == 0
    # `-` alone would be standard output.
    assert command("backup", "./-").returncode == 0
    assert sorted(tmp_path.iterdir()) == [tmp_path / "-", tmp_path / "b.tar"]


def piped(environment: dict[str, str], folder: Path, out: int | IO[bytes], *options: str) -> Done:
    """Run `backup -` with *out* as its standard output."""
    descriptor = out if isinstance(out, int) else out.fileno()
    with open(descriptor, "w", closefd=False) as stream:
        return run_command_into(stream, "backup", *options, "-", environment=environment, folder=folder)


def test_a_backup_goes_to_standard_output(
    environment: dict[str, str], command: Run, stored: Stored, tmp_path: Path
) -> None:
    """With - as its file, a backup is on standard output, and all words are on standard error."""
    fill(stored, NEW, 1)
    with (tmp_path / "b.tar").open("wb") as out:
        done = piped(environment, tmp_path, out)
    size = f"{(tmp_path / 'b.tar').stat().st_size:,}"
    line = f"1 secret, 0 tokens and 0 audit entries written to standard output, {size} bytes\n"
    assert (done.returncode, done.stderr) == (0, line)
    assert command("drill", "b.tar").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["b.tar"]


@pytest.mark.parametrize("target", ["full disk", "closed pipe"])
def test_an_output_that_takes_nothing_is_reported(
    target: str, environment: dict[str, str], stored: Stored, tmp_path: Path
) -> None:
    """A full disk or a closed pipe behind standard output is one line, and no success, in the trail too."""
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    done = piped(environment, tmp_path, full if target == "full disk" else writer)
    os.close(full)
    os.close(writer)
    full_disk = (
        "error: standard output cannot be written: No space left on device. "
        "Hint: discard what it has; a part cannot be restored\n"
    )
    assert (done.returncode, done.stderr) == ((1, full_disk) if target == "full disk" else (141, ""))
    made, lost = stored.audit_logs.find({"action": "backup"}).sort("seq")
    assert (made["status"], lost["status"]) == ("success", "error")
    assert lost["details"] == {
        "backup": made["details"]["backup"],
        "reason": "the backup could not be written",
    }


@pytest.mark.promise("purges")
def test_a_failed_backup_writes_nothing_to_standard_output(
    environment: dict[str, str], stored: Stored, tmp_path: Path
) -> None:
    """A backup that is refused, or has no entry, leaves standard output empty."""
    fill(stored, FOREIGN, 1)
    with (tmp_path / "b.tar").open("wb") as out:
        done = piped(environment, tmp_path, out)
    assert done.returncode == 1
    assert (tmp_path / "b.tar").read_bytes() == b""


def test_no_room_for_the_temporary_file_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the temporary file of a backup cannot be created, the refusal names the setting."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(BackupRefusedError, match=r"temporary file .* set TMPDIR"), _standard_output():
        pass


def test_standard_output_is_no_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    """A backup is not shown on a terminal, and --overwrite needs a file."""
    terminal, end = pty.openpty()
    done = piped(environment, tmp_path, end)
    os.close(end)
    os.close(terminal)
    assert done.returncode == 2
    assert "Redirect standard output to a file or a pipe: it is a terminal." in done.stderr
    with Path(os.devnull).open("wb") as nowhere:
        done = piped(environment, tmp_path, nowhere, "--overwrite")
    assert done.returncode == 2
    assert "it needs the name of a FILE" in done.stderr


@pytest.mark.promise("purges")
@pytest.mark.parametrize("overwrite", [False, True], ids=["", "overwrite"])
@pytest.mark.parametrize("kind", ["link", "device link", "FIFO"])
def test_only_a_regular_file_is_replaced(tmp_path: Path, kind: str, overwrite: bool) -> None:
    """A symbolic link, device or FIFO at the path is refused and stays unchanged."""
    (tmp_path / "target").write_bytes(b"precious")
    path = tmp_path / "b.tar"
    if kind == "FIFO":
        os.mkfifo(path)
    else:
        path.symlink_to({"link": "target", "device link": os.devnull}[kind])
    before = path.lstat()
    with (
        pytest.raises(BackupRefusedError, match="is not a regular file; choose another name"),
        _new_file(path, overwrite=overwrite) as file,
    ):
        file.write(b"new")
    after = path.lstat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert (tmp_path / "target").read_bytes() == b"precious"
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "target"]


@pytest.mark.promise("purges")
def test_an_overwritten_file_becomes_private(tmp_path: Path) -> None:
    """A backup replaces a file that others could read by a private one, also under its other names."""
    path, other_name = tmp_path / "b.tar", tmp_path / "other"
    path.write_bytes(b"old")
    path.chmod(0o666)
    other_name.hardlink_to(path)
    with _new_file(path, overwrite=True) as file:
        file.write(b"new")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o600)
    assert other_name.read_bytes() == b"old"


def test_a_file_created_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    """A file created during the backup is not overwritten, and nothing else is left."""
    path = tmp_path / "b.tar"
    with (
        pytest.raises(BackupRefusedError, match="cannot be written: File exists"),
        _new_file(path, overwrite=False) as file,
    ):
        file.write(b"new")
        path.write_bytes(b"precious")
    assert path.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_without_hard_links_or_sync_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory sticks and network shares without hard links or folder sync get the file as well."""

    def lacking(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    sync = os.fsync

    def files_only(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(descriptor)

    monkeypatch.setattr(os, "link", lacking)
    monkeypatch.setattr(os, "fsync", files_only)
    path = tmp_path / "b.tar"
    with _new_file(path, overwrite=False) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_folder_sync_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the folder cannot be synced to disk, the backup fails."""

    def failing(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with (
        pytest.raises(BackupRefusedError, match="Input/output error"),
        _new_file(tmp_path / "b.tar", overwrite=False),
    ):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_an_interrupted_backup_leaves_no_file(
    number: int, environment: dict[str, str], stored: Stored, tmp_path: Path
) -> None:
    """After Ctrl-C or a closed terminal, neither a file nor a part of one is left."""
    fill(stored, OLD, 500)
    signer = SigningKey(OLD).public.signer
    stored.audit_keys.insert_one({"_id": signer, "public_key": "?", "endorsements": {}})
    # Its entry waits for another change of the same document; the file is written by then.
    with stored.client.start_session() as session, session.start_transaction():
        stored.audit_keys.update_one({"_id": signer}, {"$set": {"held": 1}}, session=session)
        process = start_command("backup", "b.tar", environment=environment, folder=tmp_path)
        wait_until(lambda: waiting(stored["audit_keys"]))
        assert [path.name.startswith(".b.tar.") for path in tmp_path.iterdir()] == [True]
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        session.abort_transaction()
    # Its write can outlive it, and must not meet the next test.
    wait_until(lambda: not waiting(stored["audit_keys"]))
    assert (process.returncode, out) == (128 + number, "")
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_a_closed_terminal_is_handled_once() -> None:
    """The shell and the kernel both signal it, and the second signal does not interrupt the removal."""
    before = signal.signal(signal.SIGHUP, cli._interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_nohup_survives_a_closed_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    """Under `nohup` a command continues after the terminal is closed."""
    os.mkfifo(tmp_path / "b.tar")
    process = subprocess.Popen(
        ["nohup", sys.executable, "-m", "vault.cli", "drill", "b.tar"],
        cwd=tmp_path,
        env=command_environment(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # It reads the file when it has set its signals.
    with (tmp_path / "b.tar").open("wb"):
        process.send_signal(signal.SIGHUP)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err.endswith(
        "error: a backup is read twice, and a pipe cannot be. "
        "Hint: write the backup to a file, and name that\n"
    )


def waiting(collection: Collection[dict[str, Any]]) -> bool:
    """Return whether an operation waits to write to *collection*."""
    # Longer than it takes to write: a signal while the other is busy can get lost in what measures coverage.
    is_waiting = {"ns": collection.full_name, "microsecs_running": {"$gt": 1_000_000}}
    admin = collection.database.client.admin
    return bool(list(admin.aggregate([{"$currentOp": {}}, {"$match": is_waiting}])))


def test_a_database_with_an_incomplete_restore_is_not_used(command: Run, mongo_uri: str) -> None:
    """A command is refused after a restore that has not ended, and says what to do."""
    with connected(mongo_uri):
        assert registry.begin_restore("another", audit_enabled=None)
    done = command("tokens", "list")
    assert (done.returncode, done.stdout) == (1, "")
    unfinished = "a restore into this database is incomplete. Hint: restore the same backup again"
    assert done.stderr.endswith(f"error: {unfinished}\n")


def test_a_drill_reports_its_results(command: Run, stored: Stored) -> None:
    """A drill counts the decrypted and verified items, reports each part's time, and leaves nothing."""
    versioned(stored, OLD, OLD, NEW)
    fill(stored, NEW, 7)
    assert command("backup", "first.tar").returncode == 0
    assert command("backup", "b.tar").returncode == 0
    before = stored.audit_logs.count_documents({})
    done = command("drill", "b.tar")
    assert done.returncode == 0
    assert stored.audit_logs.count_documents({}) == before + 1
    notes = re.sub(r"in \d+\.\d s", "in . s", re.sub("drill_[0-9a-f]{16}", "drill_", done.stderr))
    assert notes.splitlines() == [
        "verified the file in . s",
        "8 secrets, 0 tokens and 1 audit entry for the scratch database drill_",
        "restored the backup in . s",
        "decrypted the secrets in . s",
        "verified the tokens in . s",
        "built the indexes in . s",
        "verified the trail in . s",
    ]
    assert done.stdout.splitlines() == [
        "secret versions: 10 checked, 0 failed",
        "tokens: 0 checked, 0 failed",
        "issuers and roles: 0 checked, 0 failed",
        "audit trail: 1 entry in 1 stream, 0 findings",
        "the backup is good",
    ]
    assert drill_databases(stored) == []


@pytest.mark.promise(3)
def test_a_drill_is_on_record(command: Run, stored: Stored, environment: dict[str, str]) -> None:
    """A drill leaves an entry in the trail of MONGO_URI's database before it decrypts anything."""
    fill(stored, NEW, 3)
    assert command("backup", "b.tar").returncode == 0
    assert command("drill", "b.tar").returncode == 0
    entry = stored.audit_logs.find_one({"action": "backup_drill"})
    backup = stored.audit_logs.find_one({"action": "backup"})
    assert entry is not None
    assert backup is not None
    assert (entry["status"], entry["principal"]) == ("success", "operator")
    assert entry["details"] == backup["details"]
    block_trail(stored)
    done = command("drill", "b.tar")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        1,
        "error: the audit trail cannot be written",
    )
    assert "scratch" not in done.stdout
    # Without a trail there, nothing is written: a backup can still be restored into that database.
    empty = f"{stored.name}_empty"
    uri = environment["MONGO_URI"].replace(stored.name, empty)
    try:
        assert command("drill", "b.tar", MONGO_URI=uri).returncode == 0
        assert stored.client[empty].list_collection_names() == []
    finally:
        stored.client.drop_database(empty)


@requires("jwt")
def test_a_drill_finds_unusable_data(command: Run, stored: Stored, environment: dict[str, str]) -> None:
    """Damage from before the backup is counted by kind, and the exit code is 1."""
    ids = list(fill(stored, NEW, 5))
    with running_app(environment) as app:
        make_token(app, "a", role="reader")
        make_token(app, "b", role="reader")
        make_issuer(app, "ci", iss="https://ci.example", keys=public_pem())
        make_role(app, "deploy", "ci", claims={"sub": "job"})
        make_role(app, "second", "ci", claims={"sub": "job"})
    assert command("backup", "first.tar").returncode == 0
    stored.secrets.update_one({"_id": ids[0]}, {"$inc": {"version": 1}})
    stored.secrets.update_one({"_id": ids[1]}, {"$set": {"older": [{"_cls": "Nonsense"}]}})
    stored.tokens.update_one({"name": "a"}, {"$set": {"scopes": ["everything"]}})
    stored.roles.update_one({"name": "deploy"}, {"$set": {"claims": []}})
    stored.audit_logs.update_one({"action": "backup"}, {"$set": {"ip": "192.0.2.9"}})
    assert command("backup", "b.tar").returncode == 0
    done = command("drill", "b.tar")
    assert (done.returncode, "error" in done.stderr) == (1, False)
    assert "secret versions: 6 checked, 2 failed\n" in done.stdout
    assert "tokens: 2 checked, 1 failed\n" in done.stdout
    assert "issuers and roles: 3 checked, 1 failed\n" in done.stdout
    assert re.search(
        r"audit trail: \d entries in \d streams, 1 finding\nTAMPERING: stream [\w-]+ seq 0: ", done.stdout
    )
    assert done.stdout.endswith("the backup FAILED the drill\n")
    assert not any(secret_id in done.stdout for secret_id in ids)
    assert drill_databases(stored) == []


def test_a_drill_reports_findings_for_review(command: Run, stored: Stored) -> None:
    """Findings that the trail cannot prove are printed, and the exit code is 3, as in `audit verify`."""
    assert command("backup", "first.tar").returncode == 0
    old = stream_of(9, Keyring(NEW), signed=3)
    for record in old:
        record["ts"] = moment(datetime.now(UTC) - timedelta(days=3, seconds=9 - record["seq"]))
    key = SigningKey(NEW)
    old = rechain(old, 0, lambda made, was: rehash(made, None, key) if "signature" in was else made)
    stored.audit_logs.insert_many(map(as_stored, [old[0], *old[6:]]))
    assert command("backup", "b.tar", AUDIT_TTL_DAYS="1").returncode == 0
    done = command("drill", "b.tar")
    assert "\nneeds a look: stream " in done.stdout
    assert done.returncode == 3
    assert done.stdout.endswith("the backup is good, but findings about its trail need a look\n")


def test_a_backup_from_before_its_key_was_dropped_is_valid(
    command: Run, mongo_uri: str, stored: Stored
) -> None:
    """A manifest with the heads of all streams passes a drill without the dropped key."""
    written_by(mongo_uri, Keyring(OLD), 3)
    written_by(mongo_uri, Keyring(NEW, [OLD]), 3)
    assert command("backup", "before.tar").returncode == 0
    done = command("drill", "before.tar", MASTER_KEY_FALLBACKS="")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "the backup is good")
    # Retires the old key.
    written_by(mongo_uri, Keyring(NEW), 3)
    assert command("backup", "after.tar", MASTER_KEY_FALLBACKS="").returncode == 0
    stored.audit_logs.insert_many(map(as_stored, stream_of(2, Keyring(OLD))))
    assert command("backup", "forged.tar", MASTER_KEY_FALLBACKS="").returncode == 0
    for name, code in (("before", 0), ("after", 0), ("forged", 1)):
        done = command("drill", f"{name}.tar", MASTER_KEY_FALLBACKS="")
        assert done.returncode == code, name
    assert "is signed by a master key that had been dropped before" in done.stdout


def test_tokens_without_their_key_do_not_verify(
    command: Run, stored: Stored, environment: dict[str, str]
) -> None:
    """If the key of all tokens is missing or altered, no token is valid."""
    with running_app(environment) as app:
        make_token(app, "a", role="reader")
    stored.token_keys.update_one({}, {"$set": {"envelope": b"\3" + bytes.fromhex(NEW.id) + bytes(60)}})
    assert command("backup", "b.tar").returncode == 0
    assert "tokens: 1 checked, 1 failed\n" in command("drill", "b.tar").stdout


@pytest.mark.parametrize("wrong", [KeyboardInterrupt, InvalidBackupError])
def test_a_scratch_database_never_stays(
    wrong: type[BaseException], stored: Stored, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupted or failed drill removes its scratch database."""
    fill(stored, NEW, 5)
    assert command("backup", "b.tar").returncode == 0

    def fail(*_: object) -> None:
        assert len(drill_databases(stored)) == 1
        raise wrong

    monkeypatch.setattr(drills, "verify_trail", fail)
    done = command("drill", "b.tar")
    assert done.returncode == (130 if wrong is KeyboardInterrupt else 1)
    assert drill_databases(stored) == []


def test_an_existing_scratch_database_is_left_alone(
    stored: Stored, command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drill neither fills nor removes an existing database."""
    assert command("backup", "b.tar").returncode == 0
    monkeypatch.setattr(secrets, "token_hex", lambda _size: "somebody")
    stored.client["drill_somebody"].theirs.insert_one({})
    try:
        done = command("drill", "b.tar")
        assert "error: the scratch database drill_somebody exists" in done.stderr
        assert stored.client["drill_somebody"].list_collection_names() == ["theirs"]
    finally:
        stored.client.drop_database("drill_somebody")


def test_the_results_of_a_drill_survive_a_failed_removal(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the scratch database cannot be removed, the results are printed first, and the command fails."""
    assert command("backup", "b.tar").returncode == 0
    drop = Database.drop

    def drop_and_fail(database: Database) -> None:
        drop(database)
        raise StorageUnavailableError("MongoDB is not available")

    monkeypatch.setattr(Database, "drop", drop_and_fail)
    done = command("drill", "b.tar")
    assert done.returncode == 5
    assert done.stdout.endswith("the backup is good\n")


@pytest.mark.parametrize(
    ("denied", "hint"),
    [(True, "a drill needs a MongoDB in DRILL_MONGO_URI"), (False, "check that MongoDB")],
)
def test_a_drill_says_what_its_user_lacks(
    command: Run, monkeypatch: pytest.MonkeyPatch, denied: bool, hint: str
) -> None:
    """The service's user of MongoDB may not create databases: the hint names what a drill needs."""
    assert command("backup", "b.tar").returncode == 0

    def refuse(*_: object, **__: object) -> None:
        raise StorageUnavailableError("no", is_denied=denied)

    monkeypatch.setattr(drills, "fill", refuse)
    done = command("drill", "b.tar")
    assert done.returncode == (4 if denied else 5)
    assert f"error: no. Hint: {hint}" in done.stderr
