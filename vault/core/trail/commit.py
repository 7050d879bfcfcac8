"""What one commit of the trail stores: the entries of several callers, and the effects that they record."""

from collections.abc import Sequence

from pymongo.client_session import ClientSession

from vault.common.errors import VaultError
from vault.core.attempt import Action
from vault.core.documents import Secret
from vault.core.documents.audit import ConflictError
from vault.core.documents.secret import Effect, SecretChange, UnstoredSecret
from vault.core.trail.streams.stream import StoredEntry

#: Of the values in one transaction: MongoDB aborts some that are larger than a part of its cache.
_MAX_BYTES = 8 * 1_048_576


class Part:
    """The part of a commit that one caller waits for: its entries, and the effects that they record."""

    def __init__(self, effects: Sequence[Effect]) -> None:
        self.effects = effects
        self.size = sum(effect.size for effect in effects)
        self.entries: list[StoredEntry] = []
        #: The entries as they are stored; empty after a conflict.
        self.stored: Sequence[StoredEntry] = ()
        self.error: VaultError | None = None

    def outcome(self) -> Sequence[StoredEntry]:
        """Return the stored entries, or raise the error. All parts of a commit share it."""
        if self.error:
            # Without a traceback, or each caller would add to it.
            raise self.error.with_traceback(None)
        return self.stored


def _parts_of(items: Sequence[tuple[StoredEntry, Part]]) -> list[Part]:
    """Return the parts of *items* with their entries, less those with an earlier one's secret."""
    taken: set[object] = set()
    parts: list[Part] = []
    for entry, part in items:
        part.entries.append(entry)
        keys = {effect.key for effect in part.effects}
        if len(part.entries) == 1 and taken.isdisjoint(keys):
            taken |= keys
            parts.append(part)
    # Nothing follows an entry that closes the stream.
    return sorted(parts, key=_is_closing)


def groups_of(items: Sequence[tuple[StoredEntry, Part]]) -> list[Sequence[Part]]:
    """Return the parts of *items* in the groups that are stored together, at least one."""
    groups: list[list[Part]] = [[]]
    size = 0
    for part in _parts_of(items):
        size += part.size
        if size > _MAX_BYTES and groups[-1]:
            groups.append([])
            size = part.size
        groups[-1].append(part)
    return [*groups]


def smaller(parts: Sequence[Part]) -> list[Sequence[Part]]:
    """Return the groups in which *parts* are repeated after a conflict; a part alone is not repeated.

    Most parts have no effects: they wait for no other.
    """
    plain = [part for part in parts if not part.effects]
    others = [part for part in parts if part.effects]
    middle = len(others) // 2
    halves = [others[:middle], others[middle:]] if middle else []
    return [group for group in (plain, *halves) if group]


class Effects:
    """Stores new secrets, and changes stored ones, in the transaction of their entries."""

    def __init__(self, effects: Sequence[Effect]) -> None:
        self.new_secrets = [effect for effect in effects if isinstance(effect, UnstoredSecret)]
        self._changes = [effect for effect in effects if isinstance(effect, SecretChange)]
        #: True once the transaction can be committed.
        self.is_complete = False

    def __call__(self, session: ClientSession) -> None:
        """Make the writes in the transaction of *session*.

        Raises:
            ConflictError: A secret has changed since its request read it.
        """
        if self.new_secrets:
            Secret.insert_all(self.new_secrets, session)
        if self._changes and not Secret.apply_all(self._changes, session):
            raise ConflictError
        self.is_complete = True


def _is_closing(part: Part) -> bool:
    return bool(part.entries[0]["action"] == Action.STREAM_CLOSED)
