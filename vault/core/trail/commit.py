"""What one commit of the trail stores: the entries of several callers, and the effects that they record."""

from collections.abc import Sequence

from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from vault.common.errors import VaultError
from vault.core.attempt import Action
from vault.core.documents import Secret
from vault.core.documents.audit import ConflictError
from vault.core.documents.guard import storage_errors
from vault.core.documents.secret import Effect, SecretChange, UnstoredSecret
from vault.core.trail.streams.stream import StoredEntry

#: Of all values in one transaction: MongoDB aborts some that are larger than a part of its cache.
_MAX_BYTES = 8 * 1_048_576


class Part:
    """The part of a commit that one caller waits for: its entries, and the effects that they record."""

    def __init__(self, entries: Sequence[StoredEntry], effects: Sequence[Effect]) -> None:
        self.entries = entries
        self.effects = effects
        #: The entries as they are stored; empty if the effects are not possible.
        self.stored: Sequence[StoredEntry] = ()
        self.error: VaultError | None = None

    def outcome(self) -> Sequence[StoredEntry]:
        """Return the stored entries, or raise the error. All parts of a commit share it."""
        if self.error:
            # Without a traceback, or each caller would add to it.
            raise self.error.with_traceback(None)
        return self.stored


def parts_of(items: Sequence[Part]) -> list[Part]:
    """Return the parts in *items*, which has each once for each entry.

    Without those that change an earlier one's secret, and those for whose values there is no room.
    """
    taken: set[object] = set()
    size = 0
    parts: list[Part] = []
    for part in dict.fromkeys(items):
        keys = {effect.key for effect in part.effects}
        added = sum(effect.size for effect in part.effects)
        if taken.isdisjoint(keys) and size + added <= _MAX_BYTES:
            taken |= keys
            size += added
            parts.append(part)
    # Nothing follows an entry that closes the stream.
    return sorted(parts, key=_is_closing)


def possible(parts: Sequence[Part]) -> list[Part]:
    """Return *parts* less those whose effects a read shows to be impossible by now."""
    effects = [effect for part in parts for effect in part.effects]
    with storage_errors("find"):
        found = Secret.found_keys(effects)
    # A change needs its secret; a new secret must not find one with its name.
    lost = {effect.key for effect in effects if (effect.key in found) != isinstance(effect, SecretChange)}
    return [part for part in parts if lost.isdisjoint(effect.key for effect in part.effects)]


def without_effects(parts: Sequence[Part]) -> list[Part]:
    """Return those of *parts* that have no effects."""
    return [part for part in parts if not part.effects]


class Effects:
    """Stores new secrets, and changes stored ones, in the transaction of their entries."""

    def __init__(self, parts: Sequence[Part]) -> None:
        effects = [effect for part in parts for effect in part.effects]
        self.new_secrets = [effect for effect in effects if isinstance(effect, UnstoredSecret)]
        self._changes = [effect for effect in effects if isinstance(effect, SecretChange)]
        #: True once the transaction can be committed.
        self.is_complete = False

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self.new_secrets or self._changes)

    def __call__(self, session: ClientSession) -> None:
        """Make the writes in the transaction of *session*.

        Raises:
            ConflictError: A secret has changed since its request read it, or MongoDB refuses a change of it.
        """
        if self.new_secrets:
            Secret.insert_all(self.new_secrets, session)
        if self._changes and not self._change(session):
            raise ConflictError
        self.is_complete = True

    def _change(self, session: ClientSession) -> bool:
        try:
            return Secret.apply_all(self._changes, session)
        except OperationFailure as error:
            # The driver repeats these.
            if error.timeout or error.has_error_label("TransientTransactionError"):
                raise
            return False


def _is_closing(part: Part) -> bool:
    return bool(part.entries[0]["action"] == Action.STREAM_CLOSED)
