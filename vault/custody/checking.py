"""The check of every slot of every key: a slot that no one has tried for a year may not open."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from vault.custody.errors import CustodyRefusedError, CustodyUnavailableError
from vault.custody.keyring_file import KeyringFile, Slot
from vault.custody.opening import Identify, unwrap
from vault.custody.provider import Provider


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
    file: KeyringFile,
    provider_of: Callable[[Slot], Provider],
    identify: Identify,
    *,
    skips: Callable[[Slot], bool],
) -> Iterator[SlotState]:
    """Yield the state of each slot of *file*, except those that *skips* leaves out."""
    for key in file.keys:
        for slot in key.slots:
            if skips(slot):
                continue
            about = (key.id, slot.name, slot.scheme, slot.kek)
            try:
                opened = unwrap(provider_of(slot), slot, key.id, identify)
            except CustodyUnavailableError as error:
                yield SlotState(*about, "unavailable", str(error))
            except CustodyRefusedError as error:
                yield SlotState(*about, "refused", str(error))
            else:
                yield SlotState(*about, "up", "", opened.version, opened.request_id)
