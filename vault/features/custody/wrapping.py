"""Wrapping of keys into slots, with the checks that keep them from the wrong hands."""

from collections.abc import Callable
from dataclasses import replace

from vault.features.custody.errors import CustodyRefusedError
from vault.features.custody.keyring_file import Slot, WrappedKey
from vault.features.custody.opening import unwrap
from vault.features.custody.provider import Provider, context_of
from vault.features.custody.recovery import Recovery


class Wrapper:
    """Wraps keys into slots, and opens what it has wrapped.

    Methods raise `CustodyUnavailableError` if the provider does not answer.
    """

    def __init__(self, provider_of: Callable[[Slot], Provider]) -> None:
        self._provider_of = provider_of
        #: The providers' IDs of the requests that unwrapped a key, for comparison with their own logs.
        self.request_ids: list[str] = []

    def wrap(self, slot: Slot, key_id: str, material: bytes) -> Slot:
        """Return *slot* with the key *material*, which it has opened once.

        A recovery slot opens only with shares: without them, its public key is checked.

        Raises:
            CustodyRefusedError: The provider refuses, does not return what it wrapped, or does not wrap.
        """
        provider = self._provider_of(slot)
        made = replace(slot, blob=provider.wrap(material, context_of(key_id)))
        if isinstance(provider, Recovery) and not provider.opens:
            provider.require_own(made.blob, material)
        else:
            self._open(provider, made, key_id)
        if material in made.blob:
            raise CustodyRefusedError(f"the provider of slot {slot.name} returned the key as it is")
        return made

    def require_trusted(self, slot: Slot, key: WrappedKey, material: bytes) -> None:
        """Require that *slot* holds *key* now, before another key is sent to its provider.

        A person who can write to the file could have put an address of their own there.

        Raises:
            CustodyRefusedError: The slot does not open, or does not hold the key.
        """
        provider = self._provider_of(slot)
        if isinstance(provider, Recovery):
            provider.require_own(slot.blob, material)
            return
        try:
            self._open(provider, slot, key.id)
        except CustodyRefusedError as error:
            raise CustodyRefusedError(
                f"slot {slot.name} does not open key {key.id}, so nothing more is wrapped there: "
                f"{error.problem}",
                hint="remove the slot, and add it again",
            ) from None

    def _open(self, provider: Provider, slot: Slot, key_id: str) -> None:
        opened = unwrap(provider, slot, key_id)
        if opened.request_id:
            self.request_ids.append(opened.request_id)
