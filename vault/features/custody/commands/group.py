"""The commands `keys custody …`: the keyring file, its keys and its slots."""

import secrets
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from vault.common.errors import StorageUnavailableError
from vault.common.outcomes import Exit
from vault.common.text import quantity
from vault.core.documents import registry
from vault.core.documents.guard import storage_errors
from vault.core.keys.status import key_statuses
from vault.core.principal import OPERATOR
from vault.core.trail.reader import record
from vault.features.custody import keyring_file
from vault.features.custody.commands.context import changed_attempt, named_slot, opened_custody, slots_option
from vault.features.custody.commands.recovery import recovery
from vault.features.custody.errors import KeyringFileError
from vault.features.custody.keyring_file import FALLBACK, PRIMARY, KeyringFile, Slot, WrappedKey
from vault.features.custody.opening import SlotState, Wrapper, check, identify, in_order
from vault.features.custody.providers import RECOVERY, Providers
from vault.features.custody.settings import custody_settings, keyring_path
from vault.features.custody.watch import about_file, checked_attempt
from vault.features.custody.wiring import with_keys
from vault.service.commands.context import connected
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.cli.shares import read_secret

_CHECKED = {"key id": "key_id", "slot": "slot", "scheme": "scheme", "state": "state", "reason": "reason"}


@click.group()
def custody() -> None:
    """Keep the master keys wrapped by providers, in a file.

    MASTER_KEYRING_FILE names the file. It is not secret. Any one slot of a key opens it.
    """


custody.add_command(recovery)


@custody.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@slots_option("A slot for each key. Can be repeated.")
@click.option("--from-settings", is_flag=True, help="Take the keys of MASTER_KEY, not a new one.")
@output_options
def init(output: Output, file: Path, slots: tuple[Slot, ...], from_settings: bool) -> None:
    """Create the keyring file FILE, with a new key."""
    with Providers(custody_settings()) as providers:
        wrapper = Wrapper(providers.of)
        if not from_settings:
            made = _wrapped_keys([secrets.token_bytes(32)], slots, wrapper)
            keyring_file.write(file, made, before=None, announce=lambda: None)
        else:
            with connected(output, reading=True, recorded=True) as parts:
                keys = [parts.settings.master_key, *parts.settings.master_key_fallbacks]
                made = _wrapped_keys(keys, slots, wrapper)
                attempt = changed_attempt(made, wrapper, "init")
                keyring_file.write(file, made, before=None, announce=partial(record, attempt))
    output.result(
        {"file": str(file), "key_id": made.primary.id, "slots": made.slot_names},
        f"{file} has key {made.primary.id} in {quantity(len(slots), 'slot')}. "
        f"Set MASTER_KEYRING_FILE={file}, and run `secret-manager keys custody recovery create`.",
    )


def _wrapped_keys(materials: list[bytes], slots: tuple[Slot, ...], wrapper: Wrapper) -> KeyringFile:
    by_id = {identify(material): material for material in materials}
    keys = [
        WrappedKey(
            key_id,
            FALLBACK if number else PRIMARY,
            tuple(wrapper.wrap(slot, key_id, material) for slot in slots),
        )
        for number, (key_id, material) in enumerate(by_id.items())
    ]
    return KeyringFile(tuple(keys)).confirmed(by_id)


@custody.command()
@output_options
def show(output: Output) -> None:
    """Show the keys and slots of the file; ask no provider."""
    file = KeyringFile.read(keyring_path())
    output.table(
        {"key id": "key_id", "role": "role", "slot": "slot", "scheme": "scheme", "KEK": "kek"},
        (
            {"key_id": key.id, "role": key.role, "slot": slot.name, "scheme": slot.scheme, "kek": slot.kek}
            for key in file.keys
            for slot in key.slots
        ),
    )


@custody.command()
@click.argument("name")
@click.argument("scheme")
@click.argument("kek")
@output_options
def add(output: Output, name: str, scheme: str, kek: str) -> None:
    """Wrap all keys into one more slot."""
    slot = named_slot(name, scheme, kek)
    with opened_custody(output) as found:
        if name in found.file.slot_names:
            raise KeyringFileError(f"there is a slot {name} already", hint="remove it first, or use `rewrap`")
        slots = {key.id: found.wrap(slot, key.id) for key in found.file.keys}
        found.write(found.file.with_slots(slots), "add", slot=name)
    output.result({"slot": name}, f"slot {name} opens {quantity(len(slots), 'key')}")


@custody.command()
@click.argument("name")
@output_options
def remove(output: Output, name: str) -> None:
    """Remove a slot of all keys."""
    with opened_custody(output) as found:
        found.write(found.file.without_slot(name), "remove", slot=name)
    output.result({"slot": name}, f"slot {name} is removed. Copies of the former file still have it")


@custody.command()
@click.argument("name")
@output_options
def rewrap(output: Output, name: str) -> None:
    """Wrap all keys again under the newest KEK of a slot.

    Nothing in MongoDB changes.
    """
    with opened_custody(output) as found:
        slots = {key.id: slot for key in found.file.keys for slot in key.slots if slot.name == name}
        if slots.keys() != {key.id for key in found.file.keys}:
            raise KeyringFileError(
                f"no slot {name} holds all keys", hint="see `secret-manager keys custody show`"
            )
        for key in found.file.keys:
            found.wrapper.require_trusted(slots[key.id], key, found.materials[key.id])
        slots = {key_id: found.wrap(slot, key_id) for key_id, slot in slots.items()}
        found.write(found.file.with_slots(slots), "rewrap", slot=name)
    output.result({"slot": name}, f"slot {name} is wrapped again")


@custody.command("check")
@click.option("--recovery", "with_shares", is_flag=True, help="Ask for shares, and try them, too.")
@click.option("--accept", "accepts", is_flag=True, help="Record the file as the newest one.")
@output_options
def check_slots(output: Output, with_shares: bool, accepts: bool) -> None:
    """Open every slot of every key, and record the result.

    Exits with 1 if a slot refuses, and with 5 if a provider does not answer. Without MongoDB, the result is
    not recorded.

    Other commands refuse a file that is not the newest one on record. Use --accept if the newest one is lost,
    or MongoDB has an older state, and all slots are known: new keys go into them.
    """
    file = KeyringFile.read(keyring_path())
    secret = read_secret(output) if with_shares else b""
    with Providers(custody_settings(), secret) as providers:
        found = check(file, providers.of, skips=lambda slot: slot.scheme == RECOVERY and not secret)
        states = in_order(found, file)
        output.table(_CHECKED, map(asdict, states))
        opened = {one.key_id for one in states if one.state == "up" and one.scheme != RECOVERY}
        if opened == {key.id for key in file.keys}:
            _record_check(output, states, providers, file, accepts=accepts)
    sys.exit(_exit_code(states))


def _record_check(
    output: Output, states: list[SlotState], providers: Providers, file: KeyringFile, *, accepts: bool
) -> None:
    people = [one for one in states if one.scheme == RECOVERY]
    try:
        opener = partial(with_keys, providers=providers)
        with connected(output, reading=True, recorded=True, opener=opener, accepts_file=accepts):
            attempt = checked_attempt(states, about_file(file.digest, accepts=accepts), OPERATOR)
            attempt.details["recovery"] = bool(people) and all(one.state == "up" for one in people)
            record(attempt)
            if accepts and not file.is_confirmed:
                with storage_errors():
                    registry.add_served_file(file.digest, is_confirmed=False)
        if attempt.details.get("is_newest") is False:
            output.note("The file is not the newest one on record")
    except StorageUnavailableError as error:
        if accepts:
            raise
        output.note(f"The check is not recorded: {error.problem}")


def _exit_code(states: list[SlotState]) -> Exit:
    found = {one.state for one in states}
    if "refused" in found:
        return Exit.FAILED
    return Exit.UNAVAILABLE if "unavailable" in found else Exit.DONE


@custody.command("new-key")
@output_options
def new_key(output: Output) -> None:
    """Add a new key as a fallback, in all slots.

    The first step of a rotation. Restart the service with the file, promote the key, restart again, run
    `keys rewrap`, and drop the old key.
    """
    material = secrets.token_bytes(32)
    key_id = identify(material)
    with opened_custody(output) as found:
        primary = found.file.primary
        for slot in primary.slots:
            found.wrapper.require_trusted(slot, primary, found.materials[primary.id])
        found.materials[key_id] = material
        slots = tuple(found.wrap(slot, key_id) for slot in primary.slots)
        new = KeyringFile((*found.file.keys, WrappedKey(key_id, FALLBACK, slots)))
        found.write(new, "new_key", key_id=key_id)
    output.result({"key_id": key_id}, f"key {key_id} is a fallback. Restart all replicas, then promote it")


@custody.command()
@click.argument("key_id", metavar="ID")
@output_options
def promote(output: Output, key_id: str) -> None:
    """Make a key the primary one.

    Refused while a running worker lacks the key.
    """
    with opened_custody(output) as found:
        new = found.file.promoted(key_id)
        statuses = key_statuses(found.parts.keyring)
        if any(key.key_id == key_id and key.holding < key.workers for key in statuses):
            raise KeyringFileError(f"workers lack key {key_id}", hint="restart them with this file first")
        found.write(new, "promote", key_id=key_id)
    output.result(
        {"key_id": key_id},
        f"key {key_id} is primary. Restart all replicas, then run `secret-manager keys rewrap`",
    )


@custody.command()
@click.argument("key_id", metavar="ID")
@output_options
def drop(output: Output, key_id: str) -> None:
    """Remove a fallback key that is not in use."""
    with opened_custody(output) as found:
        new = found.file.without_key(key_id)
        if not any(key.key_id == key_id and key.droppable for key in key_statuses(found.parts.keyring)):
            raise KeyringFileError(f"key {key_id} is in use", hint="see `secret-manager keys status`")
        found.write(new, "drop", key_id=key_id)
    output.result({"key_id": key_id}, f"key {key_id} is dropped. Restart all replicas")
