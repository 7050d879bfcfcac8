"""Opening of keys, each by the first of its slots whose provider unwraps it, or by all; and wrapping."""

import logging
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from time import monotonic, sleep
from typing import Any

from vault.common.retries import seconds_after
from vault.core.crypto.master_key import KEY_SIZE, MasterKey
from vault.features.custody.errors import CustodyRefusedError, CustodyUnavailableError, KeyringFileError
from vault.features.custody.keyring_file import KeyringFile, Slot, WrappedKey
from vault.features.custody.provider import Provider, context_of
from vault.features.custody.providers import LIBRARIES, RECOVERY
from vault.features.custody.recovery import Recovery

logger = logging.getLogger(__name__)

_REQUEST_ID = re.compile("[!-~]{1,128}")
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 1, 30


@dataclass(frozen=True, slots=True)
class Opened:
    """A master key that a slot has opened."""

    key_id: str
    slot: str
    kek: str
    #: The version of the KEK; empty if unknown.
    version: str
    #: The provider's ID of the request; empty if it has none.
    request_id: str
    #: The slots before this one that did not open, with the reason.
    skipped: tuple[str, ...]
    material: bytes = field(repr=False)
    #: The names of the slots before this one that refused.
    refused: tuple[str, ...] = ()
    #: The hash of the keyring file, the names of its slots, and whether all its keys confirm it.
    file: str = ""
    slots: tuple[str, ...] = ()
    is_confirmed: bool = False


def identify(material: bytes) -> str:
    """Return the key ID of *material*; empty if it is no master key."""
    return MasterKey(material).id if len(material) == KEY_SIZE else ""


def unwrap(provider: Provider, slot: Slot, key_id: str) -> Opened:
    """Return the key *key_id*, as *slot* opens it.

    Raises:
        CustodyUnavailableError: The provider does not answer.
        CustodyRefusedError: It refuses, or it returns another key.
    """
    unwrapped = provider.unwrap(slot.blob, context_of(key_id))
    if identify(unwrapped.material) != key_id:
        logger.error("tampering: slot %s opens another key than %s", slot.name, key_id)
        raise CustodyRefusedError(
            f"slot {slot.name} opens another key than {key_id}", hint="the file, or the provider, was changed"
        )
    # It goes on record, and a provider could send anything.
    request_id = unwrapped.request_id if _REQUEST_ID.fullmatch(unwrapped.request_id) else ""
    version = provider.describe(slot.blob)
    return Opened(key_id, slot.name, slot.kek, version, request_id, (), unwrapped.material)


def require_confirmed(file: KeyringFile, materials: Mapping[str, bytes]) -> None:
    """Require that the keys whose *materials* are given, by ID, have confirmed *file*, if it has MACs.

    Raises:
        KeyringFileError: They have not: someone without all its keys changed it.
    """
    if file.is_confirmed and (keys := file.unconfirmed(materials)):
        logger.error("tampering: the keyring file is not confirmed by its keys: %s", ", ".join(keys))
        raise KeyringFileError(
            f"someone without its keys changed the keyring file: it is not confirmed by {', '.join(keys)}",
            hint="put the newest file back: the last entry about one has its SHA-256 hash",
        )


def of_file(file: KeyringFile, opened: Iterable[Opened]) -> list[Opened]:
    """Return the keys that are *opened* as those of *file*; errors as `require_confirmed`."""
    found = list(opened)
    require_confirmed(file, {key.key_id: key.material for key in found})
    about: dict[str, Any] = {"file": file.digest, "slots": tuple(file.slot_names)}
    return [replace(key, is_confirmed=file.is_confirmed, **about) for key in found]


def open_all(
    file: KeyringFile, provider_of: Callable[[Slot], Provider], *, timeout_seconds: float
) -> list[Opened]:
    """Return all keys of *file*, the primary one first, by the first slot of each that opens.

    Providers that do not answer are asked again, the last time when *timeout_seconds* have passed; one that
    refuses is asked once for each key.

    Raises:
        CustodyUnavailableError: No slot of a key opens, and the provider of at least one does not answer.
        CustodyRefusedError: All slots of a key refuse.
        KeyringFileError: A key has not confirmed the file.
    """
    until = monotonic() + timeout_seconds
    keys = sorted(file.keys, key=lambda key: key is not file.primary)
    found = [_open(key, provider_of, until) for key in keys]
    for reason in dict.fromkeys(reason for opened in found for reason in opened.skipped):
        logger.warning("slot %s", reason)
    return of_file(file, found)


def _open(key: WrappedKey, provider_of: Callable[[Slot], Provider], until: float) -> Opened:
    waiting = [slot for slot in key.slots if slot.scheme != RECOVERY]
    reasons: dict[str, str] = {}
    failures = 0
    while waiting:
        for slot in tuple(waiting):
            try:
                opened = unwrap(provider_of(slot), slot, key.id)
            except CustodyUnavailableError as error:
                reasons[slot.name] = f"{slot.name} unavailable: {error}"
            except CustodyRefusedError as error:
                reasons[slot.name] = f"{slot.name} refused: {error}"
                waiting.remove(slot)
            else:
                refused = reasons.keys() - {slot.name for slot in waiting}
                return replace(opened, skipped=tuple(reasons.values()), refused=tuple(refused))
        left = until - monotonic()
        if waiting and left <= 0:
            raise CustodyUnavailableError(
                f"no slot opens key {key.id}: {'; '.join(reasons.values())}",
                hint="bring a provider back, or run `secret-manager keys custody recovery restore`",
            )
        if waiting:
            logger.warning("waiting for custody of key %s: %s", key.id, "; ".join(reasons.values()))
            # Replicas that start together do not ask together.
            pause = seconds_after(failures, _FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
            sleep(min(pause * random.uniform(0.5, 1), left))  # noqa: S311 - no secret
            failures += 1
    raise CustodyRefusedError(
        f"no slot opens key {key.id}: {'; '.join(reasons.values()) or 'it has only a recovery slot'}",
        hint="check the providers' settings, or run `secret-manager keys custody recovery restore`",
    )


@dataclass(frozen=True, slots=True)
class SlotState:
    """A slot of a key: whether it opens the key, and otherwise why not."""

    key_id: str
    slot: str
    scheme: str
    kek: str
    #: `up`, `unavailable` or `refused`.
    state: str
    reason: str = ""
    version: str = ""
    request_id: str = ""


def check(
    file: KeyringFile, provider_of: Callable[[Slot], Provider], *, skips: Callable[[Slot], bool]
) -> Iterator[SlotState]:
    """Yield the state of each slot of *file* once it is known, except those that *skips* leaves out.

    Providers are asked at the same time: one that does not answer delays no other, and is not asked again.
    """
    held = [(key, slot) for key in file.keys for slot in key.slots if not skips(slot)]
    together: dict[str, list[tuple[WrappedKey, Slot]]] = {}
    for key, slot in held:
        # The slots of one library share its process.
        provider = slot.scheme if slot.scheme in LIBRARIES else f"{slot.scheme} {slot.kek}"
        together.setdefault(provider, []).append((key, slot))
    with ThreadPoolExecutor(len(together) or 1) as pool:
        asked = [pool.submit(_states, slots, provider_of) for slots in together.values()]
        for states in as_completed(asked):
            yield from states.result()


def in_order(states: Iterable[SlotState], file: KeyringFile) -> list[SlotState]:
    """Return *states* in the order of the slots of *file*."""
    places = [(key.id, slot.name) for key in file.keys for slot in key.slots]
    return sorted(states, key=lambda one: places.index((one.key_id, one.slot)))


def _states(
    held: Iterable[tuple[WrappedKey, Slot]], provider_of: Callable[[Slot], Provider]
) -> list[SlotState]:
    states: list[SlotState] = []
    silent: dict[str, tuple[str, ...]] = {}
    for key, slot in held:
        found = silent.get(slot.kek) or _tried(provider_of, slot, key.id)
        if found[0] == "unavailable":
            silent[slot.kek] = found
        states.append(SlotState(key.id, slot.name, slot.scheme, slot.kek, *found))
    return states


def _tried(provider_of: Callable[[Slot], Provider], slot: Slot, key_id: str) -> tuple[str, ...]:
    """Return the state of *slot*, the reason if it is down, and otherwise the version and the request."""
    try:
        opened = unwrap(provider_of(slot), slot, key_id)
    except CustodyUnavailableError as error:
        return "unavailable", str(error)
    except CustodyRefusedError as error:
        return "refused", str(error)
    return "up", "", opened.version, opened.request_id


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
