"""The task of custody, and the settings with the keys of the keyring file, which is opened once a start."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from vault.common.config.settings import Settings
from vault.core.attempt import Attempt
from vault.core.parts import Parts
from vault.core.principal import Principal
from vault.features.custody import handover
from vault.features.custody.keyring_file import KeyringFile
from vault.features.custody.opening import open_all
from vault.features.custody.providers import Providers
from vault.features.custody.settings import CustodySettings
from vault.features.custody.watch import CustodyWatch, opened_attempts


def tasks(parts: Parts) -> Iterator[CustodyWatch]:
    """Yield the watch over the keyring file, if the keys come from one."""
    settings = parts.settings.of(CustodySettings)
    if settings.master_keyring_file and (opened := handover.handed_down()):
        path, seconds = Path(settings.master_keyring_file), settings.custody_check_seconds
        yield CustodyWatch(opened, path, settings.custody, check_seconds=seconds)


def with_keys(settings: Settings, providers: Providers | None = None) -> Settings:
    """Return *settings* with the keys of the keyring file; without a file, as is.

    Keys that were handed down are taken. Others are opened, and handed down. A command that asks *providers*
    itself gives them, so that a wrong PIN costs one of a token's tries.

    Raises:
        CustodyUnavailableError: No provider of a key answers in time.
        CustodyRefusedError: All providers of a key refuse.
        KeyringFileError: The file cannot be read, or a key of it has not confirmed it.
    """
    own = settings.of(CustodySettings)
    if own.master_keyring_file is None:
        return settings
    opened = handover.handed_down()
    if not opened:
        file = KeyringFile.read(Path(own.master_keyring_file))
        with ExitStack() as stack:
            asked = providers or stack.enter_context(Providers(own.custody))
            opened = open_all(file, asked.of, timeout_seconds=own.custody_timeout_seconds)
        handover.hand_down(opened)
    primary, *fallbacks = [key.material for key in opened]
    return replace(
        settings,
        master_key=primary,
        master_key_fallbacks=tuple(fallbacks),
        keyring_file_digest=opened[0].file,
        is_keyring_confirmed=opened[0].is_confirmed,
    )


def attempts(principal: Principal, *, accepts: bool) -> list[Attempt]:
    """Return the attempts that record how the keys were opened; *accepts* as in `opened_attempts`."""
    return opened_attempts(handover.handed_down(), principal, accepts=accepts)
