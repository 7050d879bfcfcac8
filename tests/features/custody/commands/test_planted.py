"""Someone who can write to the keyring file, and has no key of it, chooses no key."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.features.custody.commands.conftest import Desk, actions, made_shares
from tests.features.custody.conftest import make_token
from tests.support.custody import make_program, turned, without_macs
from tests.support.databases import history
from tests.support.lifecycle import ALICE, Caller
from tests.support.rotation import Stored, fill, new_key
from vault.core.crypto import MasterKey
from vault.features.custody.keyring_file import KeyringFile, Slot, WrappedKey
from vault.features.custody.provider import context_of
from vault.features.custody.providers import Providers
from vault.features.custody.recovery import Recovery
from vault.toolkit.operations.blueprint import EXTENSION

pytestmark = pytest.mark.process

#: With their own MAC, and forged ones of the other keys; or without any, as files of 1.1.0.
WITH_MACS = pytest.mark.parametrize("has_macs", [True, False], ids=["other MACs", "without MACs"])


def plant(desk: Desk, key: MasterKey, *, role: str, slots: list[Slot], has_macs: bool) -> bytes:
    """Put *key* in *slots* into the file, as its *role*, and return the file."""
    held = KeyringFile.read(desk.file).keys
    if role == "primary":
        held = tuple(replace(one, role="fallback") for one in held)
    made = KeyringFile((*held, WrappedKey(key.id, role, tuple(slots))))
    if has_macs:
        made = made.confirmed({one.id: bytes(32) for one in held} | {key.id: key._material})
    desk.file.write_text(made.text())
    return desk.file.read_bytes()


def wrapped(slot: Slot, key: MasterKey) -> Slot:
    """Return *slot*, of a program, with *key*."""
    return replace(slot, blob=turned(key._material))


def require_not_served(desk: Desk, problem: str, *, has_macs: bool) -> None:
    """Require that a service with the file does not start, or not serve, and that no command works."""
    desk.custody("add", "more", "command", desk.program("more"), code=1)
    desk.run("audit", "query", code=1)
    assert problem in desk.run("keys", "rewrap", code=1).stderr
    if has_macs:
        done = desk.run("serve", code=1, BIND="127.0.0.1:1")
        assert problem in done.stdout
        return
    with desk.service() as app, pytest.MonkeyPatch.context() as patch:
        [reason] = app.extensions[EXTENSION].health.readiness().failures["keys"]
        assert problem in reason
        caller = Caller(app.test_client(), patch).become(ALICE)
        assert caller.refused("create", secret="dmFsdWU=") == 503


@pytest.mark.promise(7)
@pytest.mark.new_database
@WITH_MACS
def test_shares_restore_no_planted_primary_key(desk: Desk, stored: Stored, *, has_macs: bool) -> None:
    """Anyone can wrap under a recovery slot's public key; such a key is not adopted, nor after a loss."""
    desk.begin()
    words = "".join(made_shares(desk, "--threshold", "2", "--shares", "2"))
    desk.use()
    with history(desk.uri):
        desk.run("backup", "backup.tar")
    a, _, people = KeyringFile.read(desk.file).primary.slots
    thief = new_key()
    blob = Recovery(people.kek, blob=people.blob).wrap(thief._material, context_of(thief.id))
    slots = [wrapped(a, thief), replace(people, blob=blob)]
    before = plant(desk, thief, role="primary", slots=slots, has_macs=has_macs)
    restore = ("recovery", "restore", "--slot", f"c=command,{desk.program('c')}")
    require_not_served(desk, "not confirmed by", has_macs=has_macs)
    assert "not confirmed by" in desk.custody(*restore, code=1, given=words).stderr
    assert desk.file.read_bytes() == before
    # In an empty database, nothing is known of a file without MACs. The backup knows its keys.
    desk.uri = re.sub("/([^/?]+)\\?", r"/\1_copy?", desk.uri)
    desk.custody(*restore, code=int(has_macs), given=words)
    assert not KeyringFile.read(desk.file).is_confirmed or has_macs
    assert "not confirmed by" in desk.run("restore", "backup.tar", code=1).stderr
    if not has_macs:
        with desk.service() as app:
            assert app.extensions[EXTENSION].health.readiness().failures
    copy = stored.client[f"{stored.name}_copy"]
    assert actions(copy, "key_recovered", "backup_restore") == []
    stored.client.drop_database(copy.name)


@pytest.mark.promise(7)
@WITH_MACS
@pytest.mark.parametrize("role", ["primary", "fallback"])
def test_no_key_that_a_public_key_wraps_is_used(
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    *,
    has_macs: bool,
    role: str,
) -> None:
    """A token wraps by RSA with a public key, which is no secret: what others wrap with it is not used."""
    desk.settings = make_token(tmp_path_factory.mktemp("softhsm"))
    monkeypatch.setenv("SOFTHSM2_CONF", desk.settings["SOFTHSM2_CONF"])
    slot = Slot("hsm", "pkcs11", "pkcs11:token=sm;object=rsa")
    init = ("init", str(desk.file), "--slot", f"hsm=pkcs11,{slot.kek}")
    desk.custody(*init, MASTER_KEYRING_FILE="")
    desk.use()
    thief = new_key()
    with Providers(desk.settings) as providers:
        blob = providers.of(slot).wrap(thief._material, context_of(thief.id))
    plant(desk, thief, role=role, slots=[replace(slot, blob=blob)], has_macs=has_macs)
    require_not_served(desk, "not confirmed by", has_macs=has_macs)


@pytest.mark.promise(7)
@WITH_MACS
def test_nothing_verifies_under_a_planted_fallback(desk: Desk, stored: Stored, *, has_macs: bool) -> None:
    """A value that someone encrypted under a key of their own is not served, nor are their entries read."""
    desk.begin()
    desk.use()
    thief = new_key()
    a = KeyringFile.read(desk.file).primary.slots[0]
    plant(desk, thief, role="fallback", slots=[wrapped(a, thief)], has_macs=has_macs)
    [secret_id] = fill(stored, thief, 1)
    require_not_served(desk, "not confirmed by", has_macs=has_macs)
    assert "not confirmed by" in desk.run("audit", "verify", code=1).stderr
    if not has_macs:
        with desk.service() as app, pytest.MonkeyPatch.context() as patch:
            caller = Caller(app.test_client(), patch).become(ALICE)
            assert caller.refused("fetch", secret_id=secret_id) == 503


Edit = Callable[[dict[str, Any]], None]


def _leave(_: dict[str, Any]) -> None:
    pass


def _swap_roles(document: dict[str, Any]) -> None:
    one, other = document["keys"]
    one["role"], other["role"] = other["role"], one["role"]


def _replace_kek(document: dict[str, Any]) -> None:
    document["keys"][0]["slots"][1]["kek"] = "/bin/false"


def _edit_slot(document: dict[str, Any]) -> None:
    document["keys"][0]["slots"][1]["blob"] = "b3RoZXJz" * 8


def _reorder_slots(document: dict[str, Any]) -> None:
    document["keys"][0]["slots"].reverse()


def _add_slot(document: dict[str, Any]) -> None:
    slots = document["keys"][0]["slots"]
    slots.append(slots[0] | {"name": "more"})


def _remove_slot(document: dict[str, Any]) -> None:
    del document["keys"][1]["slots"][1]


def _remove_key(document: dict[str, Any]) -> None:
    del document["keys"][1]


def _exchange_macs(document: dict[str, Any]) -> None:
    one, other = document["keys"]
    one["mac"], other["mac"] = other["mac"], one["mac"]


EDITS: list[Edit] = [
    *(_swap_roles, _replace_kek, _edit_slot, _reorder_slots, _add_slot, _remove_slot),
    *(_remove_key, _exchange_macs),
]


@pytest.mark.promise(7)
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__[1:])
def test_no_edit_of_the_file_is_confirmed(desk: Desk, edit: Edit) -> None:
    """Every ID, role and slot of the file is as its keys confirm it, or nothing starts with it."""
    desk.begin()
    desk.use()
    desk.custody("new-key")
    document = json.loads(desk.file.read_text())
    edit(document)
    desk.file.write_text(json.dumps(document))
    assert "not confirmed by" in desk.custody("remove", "b", code=1).stderr
    assert "not confirmed by" in desk.run("serve", code=1, BIND="127.0.0.1:1").stdout


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    ("audit", "edit"), [("true", _leave), ("true", _swap_roles), ("false", _leave), ("false", _replace_kek)]
)
def test_without_its_macs_a_file_is_another_one(desk: Desk, audit: str, edit: Edit) -> None:
    """Once a file with MACs was served, one without them is refused, also without a trail."""
    desk.settings["AUDIT_ENABLED"] = audit
    desk.begin()
    desk.use()
    desk.custody("new-key")
    desk.use()
    document = json.loads(without_macs(desk.file.read_text()))
    edit(document)
    desk.file.write_text(json.dumps(document))
    require_not_served(desk, "not confirmed by", has_macs=False)


def as_1_1_0(desk: Desk) -> bytes:
    """Make the file, and the trail's record of it, as 1.1.0 does; return the file."""
    desk.begin()
    desk.file.write_text(without_macs(desk.file.read_text()))
    desk.use()
    return desk.file.read_bytes()


@pytest.mark.parametrize("audit", ["true", "false"])
def test_a_file_of_1_1_0_gets_its_macs_by_the_first_command(desk: Desk, audit: str) -> None:
    """It serves as before, also if it is put back; a copy without the new file's MACs does not."""
    desk.settings["AUDIT_ENABLED"] = audit
    old = as_1_1_0(desk)
    desk.custody("check")
    assert desk.file.read_bytes() == old
    desk.custody("new-key")
    desk.use()
    new = desk.file.read_bytes()
    assert json.loads(new)["format"] == 2
    desk.file.write_bytes(old)
    with desk.service() as app:
        assert app.extensions[EXTENSION].health.readiness().failures == {}
    desk.file.write_text(without_macs(new.decode()))
    require_not_served(desk, "not confirmed by", has_macs=False)
    desk.custody("check", code=1)
    desk.file.write_bytes(new)
    desk.custody("promote", KeyringFile.parse(new).keys[1].id)


def test_a_change_by_1_1_0_is_known_by_its_entry(
    desk: Desk, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that 1.1.0 has added, and no service has had yet, is in the newest file on record."""
    as_1_1_0(desk)
    with monkeypatch.context() as patch:
        patch.setattr(KeyringFile, "confirmed", lambda file, _: file)
        desk.custody("new-key")
    assert json.loads(desk.file.read_text())["format"] == 1
    assert "unconfirmed" not in str(stored["keys"].find_one({"custody.unconfirmed": {"$size": 2}}))
    desk.use()
    desk.custody("check")
    with desk.service() as app:
        assert app.extensions[EXTENSION].health.readiness().failures == {}


def test_an_operator_accepts_a_file_without_macs(desk: Desk, stored: Stored) -> None:
    """`check --accept` lets the service use it, on record, and names new keys; a known one stays primary."""
    desk.begin()
    desk.use()
    thief = new_key()
    a = KeyringFile.read(desk.file).primary.slots[0]
    whole = desk.file.read_bytes()
    plant(desk, thief, role="primary", slots=[wrapped(a, thief)], has_macs=False)
    assert thief.id in desk.custody("check", "--accept", code=1).stderr
    assert actions(stored, "custody_checked") == []
    desk.file.write_bytes(whole)
    plant(desk, thief, role="fallback", slots=[wrapped(a, thief)], has_macs=False)
    assert thief.id in desk.custody("check", "--accept").stderr
    [checked] = actions(stored, "custody_checked")
    assert checked["file"] == KeyringFile.read(desk.file).digest
    with desk.service() as app:
        assert app.extensions[EXTENSION].health.readiness().failures == {}
    desk.custody("drop", thief.id)
    assert KeyringFile.read(desk.file).is_confirmed


@pytest.mark.new_database
def test_a_loss_is_survived_with_a_file_of_1_1_0(desk: Desk, stored: Stored) -> None:
    """With shares and a backup, a file without MACs is restored; the first command afterwards adds them."""
    desk.begin()
    words = "".join(made_shares(desk, "--threshold", "2", "--shares", "2"))
    desk.file.write_text(without_macs(desk.file.read_text()))
    desk.use()
    with history(desk.uri):
        desk.run("backup", "backup.tar")
    desk.uri = re.sub("/([^/?]+)\\?", r"/\1_copy?", desk.uri)
    make_program(desk.folder / "c")
    slot = f"c=command,{desk.folder / 'c'}"
    done = desk.custody("recovery", "restore", "--slot", slot, given=words)
    assert "gets its MACs" in done.stderr
    desk.custody("remove", "a")
    desk.run("restore", "backup.tar")
    with desk.service() as app:
        assert app.extensions[EXTENSION].health.readiness().failures == {}
    assert not KeyringFile.read(desk.file).is_confirmed
    desk.custody("remove", "b")
    assert KeyringFile.read(desk.file).is_confirmed
    stored.client.drop_database(f"{stored.name}_copy")
