"""Wrapping of a key into a slot, with the checks that keep it from the wrong hands."""

from collections.abc import Callable
from dataclasses import replace

from vault.custody.errors import CustodyRefusedError
from vault.custody.keyring_file import Slot, WrappedKey
from vault.custody.opening import Identify, unwrap
from vault.custody.provider import Provider, context_of
from vault.custody.recovery import Recovery


def wrapped(
    slot: Slot, key_id: str, material: bytes, provider_of: Callable[[Slot], Provider], identify: Identify
) -> Slot:
    """Return *slot* with the key *material*, which it has opened once.

    A recovery slot opens only with shares: without them, its public key is checked.

    Raises:
        CustodyUnavailableError: The provider does not answer.
        CustodyRefusedError: It refuses, or does not return what it wrapped.
    """
    provider = provider_of(slot)
    made = replace(slot, blob=provider.wrap(material, context_of(key_id)))
    if isinstance(provider, Recovery) and not provider.opens:
        provider.require_own(made.blob, material)
    else:
        unwrap(provider, made, key_id, identify)
    return made


def require_trusted(
    slot: Slot,
    key: WrappedKey,
    material: bytes,
    provider_of: Callable[[Slot], Provider],
    identify: Identify,
) -> None:
    """Require that *slot* holds *key* now, before another key is sent to its provider.

    A person who can write to the file could have put an address of their own there.

    Raises:
        CustodyUnavailableError: The provider does not answer.
        CustodyRefusedError: The slot does not open, or does not hold the key.
    """
    provider = provider_of(slot)
    if isinstance(provider, Recovery):
        provider.require_own(slot.blob, material)
        return
    try:
        unwrap(provider, slot, key.id, identify)
    except CustodyRefusedError as error:
        raise CustodyRefusedError(
            f"slot {slot.name} does not open key {key.id}, so nothing more is wrapped there: {error.problem}",
            hint="remove the slot, and add it again",
        ) from None
