"""The commands `keys custody recovery …`: shares of people that restore all keys."""

import secrets

import click

from vault.common.text import quantity
from vault.core.attempt import Action, Attempt
from vault.core.crypto import shares
from vault.core.principal import OPERATOR
from vault.core.trail.reader import record
from vault.features.custody import handover
from vault.features.custody.commands.context import opened_custody, slots_option
from vault.features.custody.errors import KeyringFileError
from vault.features.custody.keyring_file import KeyringFile, Slot
from vault.features.custody.opening import Wrapper, of_file, unwrap
from vault.features.custody.providers import RECOVERY
from vault.features.custody.recovery import SECRET_BYTES, Recovery
from vault.features.custody.settings import keyring_path
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.cli.shares import Sharing, read_secret, sharing_options


@click.group()
def recovery() -> None:
    """Make shares for people, and restore all keys with them."""


@recovery.command()
@sharing_options
@output_options
def create(output: Output, sharing: Sharing | None) -> None:
    """Create shares of a new recovery key, and wrap all keys with it.

    Shares of an earlier creation open nothing any more. Each share is shown once: its holder writes it down.
    """
    if sharing is None:
        raise click.UsageError("set either --threshold and --shares, or --group")
    sharing.require_place(output)
    named = sharing.split(secrets.token_bytes(SECRET_BYTES))
    # What the shares give back, not what they were made of.
    provider = Recovery(sharing.terms, secret=shares.combine(text for _, text in named))
    slot = Slot(RECOVERY, RECOVERY, sharing.terms)
    with opened_custody(output) as found:
        wrapper = Wrapper(lambda _: provider)
        slots = {key.id: wrapper.wrap(slot, key.id, found.materials[key.id]) for key in found.file.keys}
        place = sharing.hand_out(named)
        found.write(found.file.with_slots(slots), "recovery_create", kek=slot.kek)
    output.result(
        {"slot": RECOVERY, "kek": slot.kek, "shares": len(named)},
        f"{quantity(len(named), 'share')} {place}; {slot.kek} restore all keys. Try them: "
        "`secret-manager keys custody check --recovery`",
    )


@recovery.command()
@slots_option("A new slot for all keys. Can be repeated.")
@output_options
def restore(output: Output, slots: tuple[Slot, ...]) -> None:
    """Open all keys with shares, and wrap them into new slots.

    Shares come from standard input, one a line, or from a prompt. Their order does not matter.
    """
    file = KeyringFile.read(keyring_path())
    held = [(key, slot) for key in file.keys for slot in key.slots if slot.scheme == RECOVERY]
    if {key.id for key, _ in held} != {key.id for key in file.keys}:
        raise KeyringFileError("a key has no recovery slot", hint="see `secret-manager keys custody show`")
    secret = read_secret(output)
    held.sort(key=lambda pair: pair[0] is not file.primary)
    opened = of_file(file, (unwrap(Recovery(slot.kek, secret=secret), slot, key.id) for key, slot in held))
    # In place of what the providers of the file would open, which may all be lost.
    handover.hand_down(opened)
    with opened_custody(output, recovers=True) as found:
        new = found.file
        for slot in slots:
            if slot.name in new.slot_names:
                raise KeyringFileError(f"there is a slot {slot.name} already", hint="choose another name")
            new = new.with_slots({key.id: found.wrap(slot, key.id) for key in new.keys})
        for key in opened:
            details = {"key_id": key.key_id, "slots": [slot.name for slot in slots]}
            record(Attempt(action=Action.KEY_RECOVERED, principal=OPERATOR, details=details))
        found.write(new, "recovery_restore")
    names = [slot.name for slot in slots]
    output.result(
        {"keys": [key.key_id for key in opened], "slots": names},
        f"{quantity(len(opened), 'key')} restored, and wrapped into {', '.join(names)}. "
        "Restore the backup, or start the service",
    )
