"""The commands `keys custody recovery …`: shares of people, shown once, that restore all keys."""

import re
import secrets
import sys
from itertools import islice
from pathlib import Path

import click

from vault.common.text import quantity
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.trail.reader import record
from vault.features.custody import handover, shares
from vault.features.custody.commands.context import opened_custody, slots_option
from vault.features.custody.errors import CustodyRefusedError, KeyringFileError
from vault.features.custody.keyring_file import KeyringFile, Slot
from vault.features.custody.opening import Wrapper, of_file, unwrap
from vault.features.custody.providers import RECOVERY
from vault.features.custody.recovery import SECRET_BYTES, Recovery
from vault.features.custody.settings import keyring_path
from vault.features.custody.shares import Group
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.client import private_files

#: More shares than any set has.
_MAX_SHARES = 256

_GROUP = re.compile("([a-z0-9-]{1,32})=([0-9]{1,2})/([0-9]{1,2})")


@click.group()
def recovery() -> None:
    """Make shares for people, and restore all keys with them."""


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _group(text: str) -> tuple[str, Group]:
    match = _GROUP.fullmatch(text)
    if not match:
        raise click.BadParameter("must be NAME=THRESHOLD/SHARES, such as people=2/3")
    return match[1], Group(int(match[2]), int(match[3]))


@recovery.command()
@click.option("--threshold", type=int, help="How many shares restore the keys.")
@click.option("--shares", "count", type=int, help="How many shares there are, at most 16.")
@click.option(
    "--group",
    "groups",
    metavar="NAME=THRESHOLD/SHARES",
    type=_group,
    multiple=True,
    help="A group of shares; all groups are needed. Can be repeated, in place of --threshold and --shares.",
)
@click.option(
    "--out-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="A new folder for the shares, one file each, in place of the terminal.",
)
@output_options
def create(
    output: Output,
    threshold: int | None,
    count: int | None,
    groups: tuple[tuple[str, Group], ...],
    out_dir: Path | None,
) -> None:
    """Create shares of a new recovery key, and wrap all keys with it.

    Shares of an earlier creation open nothing any more. Each share is shown once: its holder writes it down.
    """
    if bool(groups) == bool(threshold and count):
        raise click.UsageError("set either --threshold and --shares, or --group")
    if out_dir is None and (output.as_json or not _is_terminal()):
        raise click.UsageError("shares are shown on a terminal only; use --out-dir")
    if len({name for name, _ in groups}) != len(groups):
        raise click.UsageError("each --group needs a name of its own")
    named = groups or (("share", Group(threshold or 0, count or 0)),)
    kek = " and ".join(
        f"{'' if not groups else name + ' '}{group.threshold} of {group.shares}" for name, group in named
    )
    secret = secrets.token_bytes(SECRET_BYTES)
    made = shares.split(secret, [group for _, group in named], len(named))
    texts = [
        (f"{name}-{number}", text)
        for (name, _), group in zip(named, made, strict=True)
        for number, text in enumerate(group, 1)
    ]
    # What the shares give back, not what they were made of.
    provider = Recovery(kek, secret=shares.combine(text for _, text in texts))
    slot = Slot(RECOVERY, RECOVERY, kek)
    with opened_custody(output) as found:
        wrapper = Wrapper(lambda _: provider)
        slots = {key.id: wrapper.wrap(slot, key.id, found.materials[key.id]) for key in found.file.keys}
        if out_dir:
            _write_shares(out_dir, texts)
        else:
            _show_shares(texts)
        found.write(found.file.with_slots(slots), "recovery_create", kek=kek)
    place = f"in {out_dir}" if out_dir else "shown"
    output.result(
        {"slot": RECOVERY, "kek": kek, "shares": len(texts)},
        f"{quantity(len(texts), 'share')} {place}; {kek} restore all keys. Try them: "
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


def read_secret(output: Output) -> bytes:
    """Return the secret of the shares on standard input, or those that people type in.

    Raises:
        CustodyRefusedError: The shares are damaged, of different sets, or too few.
    """
    if not sys.stdin.isatty():
        lines = (line for line in islice(sys.stdin, _MAX_SHARES) if line.strip())
        return shares.combine(lines)
    given: list[str] = []
    while text := click.prompt(
        f"Share {len(given) + 1}, or nothing to end",
        default="",
        show_default=False,
        hide_input=True,
        err=True,
    ):
        try:
            shares.require_share(len(given) + 1, text)
        except CustodyRefusedError as error:
            output.note(f"{error.problem}. Type it again")
        else:
            given.append(text)
    return shares.combine(given)


def _write_shares(folder: Path, texts: list[tuple[str, str]]) -> None:
    folder.mkdir(mode=0o700)
    for name, text in texts:
        with private_files.replacement(folder / f"{name}.txt", overwrite=False) as file:
            file.write(f"{text}\n".encode())


def _show_shares(texts: list[tuple[str, str]]) -> None:
    for number, (name, text) in enumerate(texts, 1):
        click.pause(f"Share {number} of {len(texts)}, {name}: press a key when only its holder can see this.")
        words = text.split()
        lines = [
            "  ".join(f"{at:2} {word:9}" for at, word in enumerate(words[start : start + 5], start + 1))
            for start in range(0, len(words), 5)
        ]
        click.echo("\n".join(lines))
        click.pause("Press a key when it is written down: it is not shown again.")
        # Also the lines that the terminal has scrolled away.
        click.echo("\033[H\033[2J\033[3J", nl=False)
