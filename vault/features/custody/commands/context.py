"""The context of the commands `keys custody …`: the file, its keys, and the entry before each change."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.keys.standing import Standing, newest_file, standing
from vault.core.parts import Parts
from vault.core.principal import OPERATOR
from vault.core.trail.reader import record
from vault.features.custody import keyring_file
from vault.features.custody.errors import KeyringFileError
from vault.features.custody.keyring_file import KeyringFile, Slot
from vault.features.custody.opening import Wrapper, identify
from vault.features.custody.providers import Providers
from vault.features.custody.settings import custody_settings, keyring_path
from vault.features.custody.watch import about_file
from vault.features.custody.wiring import with_keys
from vault.service.commands.context import connected
from vault.toolkit.cli.output import Output
from vault.toolkit.cli.parameters import Command


@dataclass(frozen=True, slots=True)
class Custody:
    """The keyring file with its opened keys."""

    path: Path
    file: KeyringFile
    parts: Parts
    #: The keys by ID.
    materials: dict[str, bytes] = field(repr=False)
    wrapper: Wrapper
    standing: Standing
    output: Output

    def wrap(self, slot: Slot, key_id: str) -> Slot:
        """Return *slot* with the key *key_id*."""
        return self.wrapper.wrap(slot, key_id, self.materials[key_id])

    def write(self, new: KeyringFile, operation: str, **details: str) -> None:
        """Record the change, and then put *new* in place of the file, confirmed by all its keys.

        Not before the database vouches for the file: MACs would hide that someone has added a key.
        """
        if self.standing is Standing.NEW:
            self.output.note("The file gets its MACs by the first command after the service has used it")
        else:
            new = new.confirmed(self.materials)
        attempt = changed_attempt(new, self.wrapper, operation, **details)
        keyring_file.write(self.path, new, before=self.file, announce=partial(record, attempt))


@contextmanager
def opened_custody(output: Output, *, recovers: bool = False) -> Iterator[Custody]:
    """Open the keyring file of the settings, and connect as other commands do.

    The file must be the newest one on record, unless the command *recovers* it with shares.

    Raises what `connected` raises, and KeyringFileError.
    """
    path = keyring_path()
    file = KeyringFile.read(path)
    with (
        Providers(custody_settings()) as providers,
        connected(
            output, reading=True, recorded=True, opener=partial(with_keys, providers=providers)
        ) as parts,
    ):
        settings = parts.settings
        materials = {identify(key): key for key in (settings.master_key, *settings.master_key_fallbacks)}
        if materials.keys() != {key.id for key in file.keys}:
            raise KeyringFileError(f"{path} was changed meanwhile", hint="run the command again")
        newest = newest_file()
        if newest and newest.digest != file.digest:
            problem = (
                f"{path} is not the newest keyring file on record: that is the one of {moment(newest.time)}, "
                f"whose SHA-256 hash is {newest.digest}"
            )
            if not recovers:
                raise KeyringFileError(
                    problem,
                    hint="put that one back; if it is lost, look at the slots of this one, and run "
                    "`secret-manager keys custody check --accept`",
                )
            output.note(problem)
        wrapper = Wrapper(providers.of)
        yield Custody(path, file, parts, materials, wrapper, standing(parts.keyring), output)


def changed_attempt(new: KeyringFile, wrapper: Wrapper, operation: str, **details: str) -> Attempt:
    """Return the attempt that records a change of the file to *new*."""
    more = {"slots": new.slot_names, "request_ids": wrapper.request_ids}
    more |= about_file(new.digest, accepts=True)
    about = {"operation": operation, **details, **more}
    return Attempt(action=Action.CUSTODY_CHANGED, principal=OPERATOR, details=about)


def slots_option(text: str) -> Callable[[Command], Command]:
    """Return the option `--slot` for new slots, which has the help *text*."""
    form = "NAME=SCHEME,KEK"
    return click.option(
        "--slot", "slots", metavar=form, type=_new_slot, multiple=True, required=True, help=text
    )


def _new_slot(text: str) -> Slot:
    name, _, rest = text.partition("=")
    scheme, _, kek = rest.partition(",")
    return named_slot(name, scheme, kek)


def named_slot(name: str, scheme: str, kek: str) -> Slot:
    """Return a slot of this *name*, without a key."""
    if not kek or scheme == "recovery":
        raise click.BadParameter(
            "must be NAME=SCHEME,KEK, such as bao=transit,https://bao:8200/v1/transit/keys/sm; "
            "recovery slots come from `secret-manager keys custody recovery create`"
        )
    try:
        return Slot(name, scheme, kek)
    except KeyringFileError as error:
        raise click.BadParameter(error.problem.removeprefix("not a valid keyring file: ")) from None
