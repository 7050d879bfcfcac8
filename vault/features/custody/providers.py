"""The providers by scheme, and those of one start or command."""

from collections.abc import Mapping
from typing import Self

from vault.features.custody.awskms import AwsKms
from vault.features.custody.child import Command
from vault.features.custody.device import Device, Library
from vault.features.custody.errors import CustodyRefusedError
from vault.features.custody.keyring_file import Slot
from vault.features.custody.provider import Provider
from vault.features.custody.recovery import Recovery
from vault.features.custody.transit import Transit

#: The scheme that only people with shares can open.
RECOVERY = "recovery"

#: The schemes that need a library in C, with the modules of their child processes.
LIBRARIES = {"pkcs11": "vault.features.custody.pkcs11_token", "tpm2": "vault.features.custody.tpm"}


class Providers:
    """The providers of slots; they share sessions, and so logins, until the end of the block."""

    def __init__(self, settings: Mapping[str, str], secret: bytes = b"") -> None:
        """Take the values of the settings, by name, that are set, and the *secret* of people's shares."""
        self._settings = settings
        self._secret = secret
        self._made: dict[tuple[str, str], Provider] = {}
        self._libraries: dict[str, Library] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for provider in self._made.values():
            provider.close()

    def of(self, slot: Slot) -> Provider:
        """Return the provider of *slot*.

        Raises:
            CustodyRefusedError: There is no such scheme, or its KEK has another form.
        """
        if slot.scheme == RECOVERY:
            return Recovery(slot.kek, blob=slot.blob, secret=self._secret)
        place = (slot.scheme, slot.kek)
        if place not in self._made:
            self._made[place] = self._new(slot)
        return self._made[place]

    def _new(self, slot: Slot) -> Provider:
        match slot.scheme:
            case "command":
                return Command(slot.kek)
            case "transit":
                return Transit(slot.kek, self._settings)
            case "awskms":
                return AwsKms(slot.kek, self._settings)
            case "pkcs11" | "tpm2":
                if slot.scheme not in self._libraries:
                    self._libraries[slot.scheme] = Library(LIBRARIES[slot.scheme], self._settings_of(slot))
                return Device(self._libraries[slot.scheme], slot.kek)
        raise CustodyRefusedError(
            f"there is no scheme {slot.scheme}",
            hint="the schemes are awskms, command, pkcs11, recovery, tpm2 and transit",
        )

    def _settings_of(self, slot: Slot) -> dict[str, str]:
        """Return the settings for the child of *slot*: only those of its own scheme."""
        prefix = slot.scheme.upper() + "_"
        return {name: value for name, value in self._settings.items() if name.startswith(prefix)}
