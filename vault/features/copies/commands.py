"""The commands `keys copy`, `keys combine` and `keys identify`."""

import sys
from base64 import b64encode
from collections.abc import Sequence

import click
import pyrage
from marshmallow import ValidationError
from pyrage.x25519 import Recipient

from vault.common.config.validators import Key
from vault.common.errors import SharesRefusedError, VaultError
from vault.common.text import quantity
from vault.core.attempt import Action, Attempt
from vault.core.crypto import MasterKey
from vault.core.crypto.master_key import KEY_SIZE
from vault.core.principal import OPERATOR
from vault.core.trail.reader import record
from vault.service.commands.context import connected
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.cli.shares import Sharing, read_secret, sharing_options

#: More than any form of a key.
_MAX_LENGTH = 100


def _recipient(text: str) -> str:
    try:
        Recipient.from_str(text)
    except pyrage.RecipientError:
        raise click.BadParameter("must be a public key of age, such as age1…: see age-keygen") from None
    return text


@click.command()
@click.option(
    "--recipient",
    "recipients",
    metavar="AGE-KEY",
    type=_recipient,
    multiple=True,
    help="A public key of age. Can be repeated: each one's identity opens the copy.",
)
@sharing_options
@output_options
def copy(output: Output, recipients: tuple[str, ...], sharing: Sharing | None) -> None:
    """Copy the master key, on record.

    With --recipient, prints the key as a file that `age --decrypt` opens. With --threshold and --shares, or
    --group, makes shares of it, which `keys combine` combines. Fallback keys are not part of the copy.
    """
    if bool(recipients) == bool(sharing):
        raise click.UsageError("set either --recipient, or --threshold and --shares, or --group")
    if sharing:
        sharing.require_place(output)
    with connected(output, reading=True, recorded=True) as parts:
        material = parts.settings.master_key
        key_id = MasterKey(material).id
        if sharing:
            _share(output, sharing, material, key_id)
        else:
            _encrypt(output, recipients, material, key_id)


def _share(output: Output, sharing: Sharing, material: bytes, key_id: str) -> None:
    named = sharing.split(material)
    _record(key_id, "shares", [sharing.terms])
    place = sharing.hand_out(named)
    output.result(
        {"key_id": key_id, "shares": len(named)},
        f"{quantity(len(named), 'share')} {place}; {sharing.terms} restore key {key_id}. Try them: "
        "`secret-manager keys combine`",
    )


def _encrypt(output: Output, recipients: Sequence[str], material: bytes, key_id: str) -> None:
    found = [Recipient.from_str(one) for one in recipients]
    text = pyrage.encrypt(_text(material).encode(), found, armored=True).decode()
    _record(key_id, "age", recipients)
    output.result({"key_id": key_id, "copy": text}, text.rstrip("\n"))
    output.note(f"this is key {key_id}")


def _record(key_id: str, form: str, holders: Sequence[str]) -> None:
    details = {"key_id": key_id, "form": form, "holders": list(holders)}
    record(Attempt(action=Action.KEY_COPIED, principal=OPERATOR, details=details))


@click.command()
@output_options
def combine(output: Output) -> None:
    """Print the master key that shares restore.

    Shares of `keys copy` come from standard input, one a line, or from a prompt. Their order does not matter.
    The key's ID goes to standard error.
    """
    material = read_secret(output)
    if len(material) != KEY_SIZE:
        raise SharesRefusedError("these are not shares of a master key")
    key_id = MasterKey(material).id
    output.result({"master_key": _text(material), "key_id": key_id}, _text(material))
    output.note(f"this is key {key_id}")


@click.command()
@output_options
def identify(output: Output) -> None:
    """Print the ID of a master key.

    The key comes from standard input, or from a prompt. `keys status` lists the IDs of the keys in use.
    """
    text = _typed() if _is_terminal() else sys.stdin.read(_MAX_LENGTH)
    try:
        key_id = MasterKey(Key().deserialize(text.rstrip("\n"))).id
    except ValidationError as error:
        raise VaultError(f"a master key {str(error.messages[0]).rstrip('.')}") from None
    output.result({"key_id": key_id}, key_id)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _typed() -> str:
    return str(click.prompt("Master key", hide_input=True, err=True))


def _text(material: bytes) -> str:
    return b64encode(material).decode()
