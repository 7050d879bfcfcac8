"""The commands `keys custody …`, with programs as providers, on a real database."""

import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree

import pytest
from flask import Flask

from tests.conftest import running_app, start
from tests.features.custody.commands.conftest import Desk, actions, made_shares
from tests.features.custody.conftest import make_engine, make_token
from tests.support.custody import set_code, turned, without_macs
from tests.support.databases import history
from tests.support.lifecycle import ALICE, Caller, b64
from tests.support.openbao import OpenBao
from tests.support.rotation import Stored, new_key, settings
from vault.features.custody import handover, providers
from vault.features.custody.commands import context as custody_context
from vault.features.custody.errors import CustodyRefusedError
from vault.features.custody.keyring_file import KeyringFile, Slot
from vault.features.custody.opening import Opened, identify

pytestmark = pytest.mark.process


@contextmanager
def started(environment: dict[str, str]) -> Iterator[Flask]:
    """Run an application that has claimed its key and begun the trail."""
    with running_app(environment) as app:
        start(app)
        yield app


def test_a_file_is_made_shown_and_checked(desk: Desk, stored: Stored) -> None:
    """`init` makes a key that each slot opens, `show` asks no one, and `check` exits with what it finds."""
    key_id = desk.begin()
    assert f"{key_id}  primary  a     command" in desk.custody("show").stdout
    assert [json.loads(line)["state"] for line in desk.custody("check", "--json").stdout.splitlines()] == [
        "up"
    ] * 2
    assert stored.audit_logs.count_documents({}) == 0, "a database without a trail stays empty"
    desk.use()
    desk.custody("check")
    set_code(Path("b"), 75)
    assert "unavailable" in desk.custody("check", code=5).stdout
    set_code(Path("a"), 1)
    assert "refused" in desk.custody("check", code=1).stdout
    set_code(Path("a"), None)
    *_, checked = actions(stored, "custody_checked")
    assert [one["state"] for one in checked["slots"]] == ["up", "unavailable"]
    assert checked["recovery"] is False
    desk.custody("init", str(desk.file), "--slot", f"a=command,{desk.program('a')}", code=1)


def test_slots_are_added_rewrapped_and_removed(desk: Desk, stored: Stored) -> None:
    """Each change has its entry, leaves the former file, and is refused where it would lose a key."""
    key_id = desk.begin()
    desk.use()
    before = desk.file.read_text()
    desk.custody("add", "c", "command", desk.program("c"))
    assert Path("keyring.json.before").read_text() == before
    assert KeyringFile.read(desk.file).slot_names == ["a", "b", "c"]
    desk.custody("add", "c", "command", desk.program("c"), code=1)
    desk.custody("rewrap", "c")
    assert (desk.folder / "c.log").read_text().split() == ["wrap", "unwrap", "unwrap", "wrap", "unwrap"]
    desk.custody("rewrap", "none", code=1)
    for name in "ab":
        desk.custody("remove", name)
    assert "last one" in desk.custody("remove", "c", code=1).stderr
    assert "no slot none" in desk.custody("remove", "none", code=1).stderr
    changed = actions(stored, "custody_changed")
    assert [(one["operation"], one["slot"]) for one in changed] == [
        *(("add", "c"), ("rewrap", "c"), ("remove", "a"), ("remove", "b"))
    ]
    assert {one["key_id"] for one in actions(stored, "key_opened")} == {key_id}


def test_a_look_at_the_status_is_an_opening(desk: Desk, stored: Stored) -> None:
    """The command `status` changes nothing, but opens the keys: that is on record."""
    desk.begin()
    desk.use()
    stored.audit_logs.delete_many({"action": "key_opened"})
    done = desk.run("status", "--json", code=5)
    assert "no drill with the shares" in done.stdout
    [opened] = actions(stored, "key_opened")
    assert opened["slot"] == "a"


@pytest.mark.promise(7)
def test_a_file_that_was_put_back_gets_no_new_key(desk: Desk, stored: Stored) -> None:
    """With a removed slot or old shares put back, no command changes the file; the newest one is named."""
    desk.begin()
    desk.use()
    [start] = actions(stored, "key_opened")
    assert (start["slots"], start["is_newest"]) == (["a", "b"], True)
    assert start["file"] == KeyringFile.read(desk.file).digest
    made_shares(desk, "--threshold", "2", "--shares", "2")
    old = desk.file.read_bytes()
    made_shares(desk, "--threshold", "2", "--shares", "2")
    desk.custody("remove", "b")
    newest = desk.file.read_bytes()
    key_id = KeyringFile.read(desk.file).primary.id
    desk.file.write_bytes(old)
    now = f"{datetime.now(UTC):%Y-%m}"
    for _ in range(2):
        for arguments in (
            ("add", "c", "command", desk.program("c")),
            *(("remove", "a"), ("rewrap", "b"), ("new-key",), ("promote", key_id), ("drop", key_id)),
            ("recovery", "create", "--threshold", "2", "--shares", "2", "--out-dir", "out"),
        ):
            refused = desk.custody(*arguments, code=1).stderr
            assert f"is not the newest keyring file on record: that is the one of {now}" in refused
            assert hashlib.sha256(newest).hexdigest() in refused
        assert desk.file.read_bytes() == old
        assert not Path("out").exists()
        desk.use()
    assert "A KEYRING FILE THAT IS NOT" in desk.run("audit", "report", "--no-verify").stdout
    page = desk.run("audit", "report", "--no-verify", "--html", "-").stdout
    assert "not the newest one on record" in page
    assert "not the newest" in desk.custody("check").stderr
    desk.file.write_bytes(newest)
    desk.custody("new-key")


def test_an_operator_accepts_a_file_whose_successor_is_lost(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check --accept`, though not without its entry, and people with shares make it the newest one."""
    desk.begin()
    desk.use()
    words = "".join(made_shares(desk, "--threshold", "2", "--shares", "2"))
    old = desk.file.read_bytes()
    desk.custody("rewrap", "a")
    desk.file.write_bytes(old)
    with monkeypatch.context() as patch:
        patch.setattr("vault.core.documents.database.OPERATION_TIMEOUT_SECONDS", 0.05)
        nowhere = {"MONGO_URI": "mongodb://127.0.0.1:1/?replicaSet=rs0"}
        desk.custody("check", "--accept", code=5, **nowhere)
    desk.custody("rewrap", "a", code=1)
    assert "not the newest" not in desk.custody("check", "--accept").stderr
    desk.custody("rewrap", "a")
    desk.file.write_bytes(old)
    slot = f"c=command,{desk.program('c')}"
    assert "not the newest" in desk.custody("recovery", "restore", "--slot", slot, given=words).stderr
    desk.custody("rewrap", "a")


def test_a_slot_that_fails_changes_nothing(desk: Desk) -> None:
    """Without its provider, or if it does not return what it wrapped, a slot is not added."""
    desk.begin()
    before = desk.file.read_bytes()
    set_code(Path("c"), 75)
    desk.custody("add", "c", "command", desk.program("c"), code=5)
    liar = desk.folder / "liar"
    liar.write_text("#!/bin/sh\nexec head -c 32 /dev/zero\n")
    liar.chmod(0o755)
    assert "opens another key" in desk.custody("add", "c", "command", str(liar), code=1).stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vault.core.documents.database.OPERATION_TIMEOUT_SECONDS", 0.05)
        nowhere = {"MONGO_URI": "mongodb://127.0.0.1:1/?replicaSet=rs0"}
        desk.custody("add", "c", "command", desk.program("d"), code=5, **nowhere)
        assert "The check is not recorded" in desk.custody("check", code=0, **nowhere).stderr
    for wrong in (("add", "C", "command", "x"), ("add", "c", "recovery", "3 of 5")):
        desk.custody(*wrong, code=2)
    desk.custody("init", "new", "--slot", "a", code=2)
    other = new_key()
    handover.hand_down([Opened(other.id, "a", "kek", "", "", (), other._material)])
    assert "changed meanwhile" in desk.custody("remove", "a", code=1).stderr
    assert desk.file.read_bytes() == before


@pytest.mark.promise(7)
def test_a_command_tries_a_wrong_pin_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command asks a token's library in one session, which logs in once, also where it connects, too."""
    started: list[str] = []

    class Refusing:
        def __init__(self, module: str, _: object) -> None:
            started.append(module)

        def ask(self, *_: object) -> bytes:
            raise CustodyRefusedError("the token refused: PinIncorrect")

        def close(self) -> None:
            pass

    desk.begin()
    key = KeyringFile.read(desk.file).primary
    slots = (Slot("hsm", "pkcs11", "pkcs11:token=sm;object=kek-1", b"blob"), *key.slots)
    desk.file.write_text(KeyringFile((replace(key, slots=slots),)).text())
    monkeypatch.setattr(providers, "Library", Refusing)
    for arguments, code in (
        (("check",), 1),
        (("add", "c", "command", desk.program("c")), 0),
        (("rewrap", "hsm"), 1),
        (("new-key",), 1),
    ):
        started.clear()
        desk.custody(*arguments, code=code)
        assert len(started) == 1, arguments


def test_a_rotation_is_edits_of_one_file(desk: Desk, stored: Stored) -> None:
    """The four steps rotate the key; none is possible too early, and a stolen KEK gets no new key."""
    old = desk.begin()
    with desk.service() as app, pytest.MonkeyPatch.context() as patch:
        Caller(app.test_client(), patch).become(ALICE).create(b"value")
    desk.restart()
    new = json.loads(desk.custody("new-key", "--json").stdout)["key_id"]
    assert f"workers lack key {new}" in desk.custody("promote", new, code=1).stderr
    desk.restart()
    desk.custody("promote", new)
    desk.restart()
    assert f"key {old} is in use" in desk.custody("drop", old, code=1).stderr
    desk.run("keys", "rewrap")
    desk.custody("drop", old)
    file = KeyringFile.read(desk.file)
    assert [(key.id, key.role) for key in file.keys] == [(new, "primary")]
    assert "is the primary one" in desk.custody("drop", new, code=1).stderr
    operations = [one["operation"] for one in actions(stored, "custody_changed")]
    assert operations == ["new_key", "promote", "drop"]
    thief = desk.program("thief")
    desk.file.write_text(desk.file.read_text().replace(str(desk.folder / "a"), thief))
    (desk.folder / "thief").write_text(f"#!/bin/sh\ncat > {desk.folder}/stolen\n")
    assert "not confirmed by" in desk.custody("new-key", code=1).stderr
    desk.file.write_text(without_macs(desk.file.read_text()))
    assert "not confirmed by" in desk.custody("new-key", code=1).stderr
    desk.custody("check", "--accept", code=1)
    assert "nothing more is wrapped there" in desk.custody("new-key", code=1).stderr
    assert (desk.folder / "stolen").read_bytes() == file.keys[0].slots[0].blob


def test_a_provider_s_log_is_compared_with_the_trail(desk: Desk) -> None:
    """`audit reconcile` names an unwrap without an entry, and exits with 1; without findings, with 0."""
    desk.begin()
    desk.use()
    stolen = {
        "eventName": "Decrypt",
        "eventTime": "2026-11-29T12:01:00Z",
        "requestID": "stolen\nrequest",
        "requestParameters": {"encryptionContext": {"purpose": "secret-manager master key"}},
    }
    arguments = ("audit", "reconcile", "--provider-log", "log")
    Path("log").write_text(json.dumps({"Records": [stolen]}))
    shown = desk.run(*arguments, code=1).stdout.splitlines()
    assert shown[0].endswith("no entry  stolen\\u000arequest")
    assert shown[1] == "1 unwrap in the log, 1 finding"
    Path("log").write_text(json.dumps({"Records": []}))
    assert json.loads(desk.run(*arguments, "--json").stdout) == {"unwraps": 0, "findings": []}


def test_the_keys_of_the_settings_are_wrapped(desk: Desk, stored: Stored) -> None:
    """`--from-settings` wraps the keys in use, which is recorded; nothing else changes."""
    keys = (new_key(), new_key())
    environment = settings(desk.uri, *keys)
    with started(environment):
        pass
    slot = f"a=command,{desk.program('a')}"
    arguments = ("init", str(desk.file), "--from-settings", "--slot", slot)
    desk.custody(*arguments, MASTER_KEYRING_FILE="", **environment)
    assert [key.id for key in KeyringFile.read(desk.file).keys] == [key.id for key in keys]
    [changed] = actions(stored, "custody_changed")
    assert changed["operation"] == "init"
    assert "cannot be set together" in desk.run("keys", "status", code=1, **environment).stderr
    desk.run("keys", "status")


@pytest.mark.promise(7)
@pytest.mark.new_database
def test_a_backup_the_file_and_three_people_restore_everything(
    desk: Desk, stored: Stored, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """With the HSM, OpenBao and the swarm destroyed, three of five people's words restore every secret."""
    folder = tmp_path_factory.mktemp("softhsm")
    desk.settings = make_token(folder)
    # For the token's library, which the service starts, too.
    monkeypatch.setenv("SOFTHSM2_CONF", desk.settings["SOFTHSM2_CONF"])
    values = {}
    with OpenBao(tmp_path_factory.mktemp("bao")) as bao:
        desk.settings["TRANSIT_TOKEN"] = bao.tokens["admin"]
        slots = ("hsm=pkcs11,pkcs11:token=sm;object=kek-1", f"bao=transit,{make_engine(bao).kek}")
        options = [part for slot in slots for part in ("--slot", slot)]
        desk.custody("init", str(desk.file), *options, MASTER_KEYRING_FILE="")
        with desk.service() as app:
            caller = Caller(app.test_client(), monkeypatch).become(ALICE)
            for number in range(3):
                value = f"value {number}".encode()
                values[caller.create(value)] = b64(value)
        words = made_shares(desk, "--threshold", "3", "--shares", "5")
        desk.custody("new-key")
        desk.custody("check")
        with history(desk.uri):
            desk.run("backup", "backup.tar")
    rmtree(folder / "tokens")
    (folder / "tokens").mkdir()
    desk.uri = re.sub("/([^/?]+)\\?", r"/\1_copy?", desk.uri)
    desk.custody("check", code=5)
    with OpenBao(tmp_path_factory.mktemp("new-bao")) as bao:
        desk.settings["TRANSIT_TOKEN"] = bao.tokens["admin"]
        slot = f"new=transit,{make_engine(bao).kek}"
        too_few = desk.custody("recovery", "restore", "--slot", slot, given="".join(words[:2]), code=1)
        assert "too few shares" in too_few.stderr
        desk.custody("recovery", "restore", "--slot", slot, given="\n".join([words[4], *words[:2]]))
        assert stored.client[f"{stored.name}_copy"].list_collection_names() == []
        desk.run("restore", "backup.tar")
        for name in ("hsm", "bao"):
            desk.custody("remove", name)
        with desk.service() as app:
            caller = Caller(app.test_client(), monkeypatch).become(ALICE)
            assert {secret_id: caller.fetch(secret_id) for secret_id in values} == values
    slot = f"more=command,{desk.program('more')}"
    desk.custody("recovery", "restore", "--slot", slot, given="".join(words[:3]))
    copy = stored.client[f"{stored.name}_copy"]
    assert len(actions(copy, "key_recovered")) == 2
    assert {one["slot"] for one in actions(copy, "key_opened")} >= {"new", "recovery"}
    stored.client.drop_database(copy.name)


def test_shares_are_drilled_and_replaced(desk: Desk, stored: Stored) -> None:
    """A drill opens the recovery slot and is recorded; a new creation makes the former shares useless."""
    desk.begin()
    desk.use()
    former = made_shares(desk, "--group", "safe=1/1", "--group", "people=2/3")
    assert KeyringFile.read(desk.file).primary.slots[-1].kek == "safe 1 of 1 and people 2 of 3"
    assert json.loads(desk.run("audit", "report", "--no-verify", "--json").stdout)["custody"]["needs_drill"]
    assert "no drill within a year" in desk.run("audit", "report", "--no-verify").stdout
    people, safe = former[:3], former[3:]
    desk.custody("check", "--recovery", given="".join([*safe, *people[:2]]))
    assert actions(stored, "custody_checked")[-1]["recovery"] is True
    assert "no drill within a year" not in desk.run("audit", "report", "--no-verify").stdout
    assert "Last drill with shares: 2" in desk.run("audit", "report", "--no-verify", "--html", "-").stdout
    made_shares(desk, "--threshold", "2", "--shares", "2")
    desk.custody("check", "--recovery", given="".join(former), code=1)
    assert actions(stored, "custody_checked")[-1]["recovery"] is False
    for wrong in (
        ("--threshold", "2"),
        ("--threshold", "2", "--shares", "3", "--group", "a=1/1"),
        ("--group", "a"),
        ("--threshold", "2", "--shares", "3"),
        ("--group", "people=1/1", "--group", "people=2/3", "--out-dir", "s"),
    ):
        before = desk.file.read_bytes()
        desk.custody("recovery", "create", *wrong, code=2)
        assert desk.file.read_bytes() == before
        assert not Path("s").exists()
    desk.custody("recovery", "create", "--threshold", "4", "--shares", "3", "--out-dir", "s", code=1)
    desk.custody("recovery", "restore", "--slot", f"a=command,{desk.program('a')}", given="", code=1)


def test_a_restore_needs_a_recovery_slot_and_a_new_name(desk: Desk) -> None:
    """Without a recovery slot, and for a name that is taken, a restore is refused."""
    desk.begin()
    slot = f"a=command,{desk.program('a')}"
    assert "no recovery slot" in desk.custody("recovery", "restore", "--slot", slot, code=1).stderr
    words = made_shares(desk, "--threshold", "2", "--shares", "2")
    taken = desk.custody("recovery", "restore", "--slot", slot, given="".join(words), code=1)
    assert "there is a slot a already" in taken.stderr


def test_shares_need_a_number_or_a_group(desk: Desk) -> None:
    """Without `--threshold` and `--shares`, or `--group`, shares are not made."""
    desk.begin()
    desk.custody("recovery", "create", code=2)


def events_of(desk: Desk, near: str, arguments: Sequence[str], given: str, kill_at: int = 0) -> list[bool]:
    """Run a command in a fork of this process, which is killed at its *kill_at*-th event that Python audits.

    It is killed at its end if it has fewer. Without *kill_at*, return the events: True for each that concerns
    a file whose path contains *near*.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        seen: list[bool] = []

        def count(name: str, details: tuple[object, ...]) -> None:
            seen.append(near in str(details[:2]) and name != "subprocess.Popen")
            if len(seen) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            desk.custody(*arguments, given=given)
            os.write(writer, bytes(seen))
        finally:
            if kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        ended = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) == bool(kill_at)
    return [*map(bool, ended)]


def points(events: list[bool], count: int) -> list[int]:
    """Return the numbers of *count* events: one of two concerns the file, and the others are spread."""
    near = [number for number, is_near in enumerate(events, 1) if is_near]
    chosen = [near[at * len(near) // (count // 2)] for at in range(count // 2)]
    rest = count - len(chosen)
    return chosen + [1 + at * len(events) // rest for at in range(rest)]


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    "each", [4, pytest.param(12, marks=pytest.mark.nightly)], ids=["a few times", "a hundred times"]
)
def test_commands_that_are_killed_leave_a_file_that_opens(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, each: int
) -> None:
    """Every command that writes the file is killed at some of its steps; each slot still opens its key."""
    desk.begin()
    desk.use()
    words = "".join(made_shares(desk, "--threshold", "2", "--shares", "2"))
    new = json.loads(desk.custody("new-key", "--json").stdout)["key_id"]
    desk.restart()
    whole = desk.file.read_bytes()
    slot = f"c=command,{desk.program('c')}"
    commands = {
        ("init", "made.json", "--slot", slot): "",
        ("add", "c", "command", str(desk.folder / "c")): "",
        ("remove", "b"): "",
        ("rewrap", "a"): "",
        ("new-key",): "",
        ("promote", new): "",
        ("drop", new): "",
        ("recovery", "create", "--threshold", "2", "--shares", "2", "--out-dir", "out"): "",
        ("recovery", "restore", "--slot", slot): words,
    }
    # The same file is put back after each kill.
    monkeypatch.setattr(custody_context, "newest_file", lambda: None)
    for arguments, given in commands.items():
        path = desk.folder / "made.json" if arguments[0] == "init" else desk.file
        events = events_of(desk, str(path), arguments, given)
        assert path.read_bytes() != whole, arguments
        for point in points(events, each):
            desk.file.write_bytes(whole)
            (desk.folder / "made.json").unlink(missing_ok=True)
            rmtree("out", ignore_errors=True)
            events_of(desk, str(path), arguments, given, kill_at=point)
            file = KeyringFile.read(path) if path.exists() else KeyringFile.parse(whole)
            wrapped = [
                (key.id, one.blob) for key in file.keys for one in key.slots if one.scheme == "command"
            ]
            for key_id, blob in wrapped:
                assert identify(turned(blob)) == key_id
    desk.file.write_bytes(whole)
    desk.custody("rewrap", "a")
