"""Wrapped replies: each is a one-time secret, and its token is the only key to it."""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from itertools import islice
from secrets import token_urlsafe
from typing import NamedTuple, Self
from uuid import UUID

from vault.common import clock
from vault.common.errors import InvalidWrappingTokenError, SecretNotFoundError, VaultError
from vault.common.outcomes import Status
from vault.common.paths import ALL_PATHS
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.expressions import bounded_fetch
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.documents.maker import ENDLESS, Maker
from vault.core.documents.secret import Secret
from vault.core.documents.stored_secret import StoredSecret
from vault.core.keys.guard import KeyringGuard
from vault.core.secrets import read_limits
from vault.core.secrets.items import Fetch
from vault.core.secrets.requests import KEPT, NOT_KEPT, REPLIES, NewSecret, Reference
from vault.core.secrets.service import Made, SecretService, require_size
from vault.core.secrets.store import SecretStore

#: The prefix of wrapping tokens.
PREFIX = "smw_"

#: The longest life of a wrapped reply: anyone who keeps one for longer needs a secret.
MAX_LIFETIME = timedelta(days=30)

#: The maximum bytes of a wrapped reply: that of a value of a megabyte, or a long list, as JSON.
MAX_BYTES = 2 * 1_048_576

#: The maximum number of accessors that `unspent` yields at once.
UNSPENT_AT_ONCE = 1_000

_RANDOM_BYTES = 32
_FORM = re.compile(PREFIX + "[A-Za-z0-9_-]{43}")

_ANY = {"namespace": {"$in": KEPT}}


#: Precedes the basis of a reply, and follows it. Versions up to 1.1 take both for a part of the reply's own
#: object, and ignore it there: in Vault's envelopes, it is in place of a request ID.
_BASIS, _BASIS_END = b'{"request_id":', b",\t"


class Basis(NamedTuple):
    """The facts on which a kept reply depends: the right of its maker, and the secret in it.

    It is encrypted with the reply, so that no one can extend a reply, or detach it from its secret.
    """

    maker: Maker = Maker()
    #: The ID of the secret, and the number of the version whose value it has; empty, and 0 for none.
    secret_id: str = ""
    version: int = 0

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """Return the basis of the reply to *attempt*, which succeeded."""
        # The details have the first version only if it was asked for.
        version = attempt.details.get("version", 1) if attempt.action is Action.FETCH else 0
        return cls(Maker.of(attempt.principal), attempt.secret_id or "", version)


class Origin(NamedTuple):
    """The origin of a wrapped reply."""

    #: The path of the request that it answers.
    path: str
    #: The time of wrapping, in UTC and to the millisecond.
    created_at: str
    #: Its life in seconds.
    seconds: int
    #: Empty for replies of version 1.1 and earlier.
    basis: Basis = Basis()

    @property
    def begin(self) -> datetime:
        """The time of wrapping."""
        return datetime.fromisoformat(self.created_at)

    @property
    def end(self) -> datetime:
        """The time of its expiry."""
        return self.begin + timedelta(seconds=self.seconds)

    def join(self, reply: bytes) -> bytes:
        """Return this origin and *reply*, a JSON object that is not empty and can have further bytes."""
        *first, basis = self
        content = _BASIS + json.dumps(basis).encode() + _BASIS_END + reply.removeprefix(b"{")
        return json.dumps(first).encode() + b"\n" + content

    @classmethod
    def split(cls, plaintext: bytes) -> tuple[Self, bytes]:
        """Return what `join` joined."""
        first, _, content = plaintext.partition(b"\n")
        origin = cls(*json.loads(first))
        if not content.startswith(_BASIS):
            return origin, content
        text, _, reply = content.removeprefix(_BASIS).partition(_BASIS_END)
        maker, *others = json.loads(text)
        return origin._replace(basis=Basis(Maker(*maker), *others)), b"{" + reply


@dataclass(frozen=True, slots=True)
class WrappingToken:
    """A wrapping token."""

    text: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        """Return a new token, of 256 random bits."""
        return cls(PREFIX + token_urlsafe(_RANDOM_BYTES))

    @property
    def accessor(self) -> str:
        """The ID of its reply, which does not reveal it: so neither MongoDB nor the trail has the token.

        Raises:
            InvalidWrappingTokenError: It does not have the form of a wrapping token.
        """
        if not _FORM.fullmatch(self.text):
            raise InvalidWrappingTokenError("malformed")
        return str(UUID(bytes=sha256(self.text.encode()).digest()[:16], version=4))


def is_wrapping_token(text: str) -> bool:
    """Return whether *text* is meant as a wrapping token."""
    return text.startswith(PREFIX)


class Wrapping:
    """Keeps replies until someone presents their tokens, at most once.

    Methods raise `StorageUnavailableError` without MongoDB, and `AuditUnavailableError` if an entry could not
    be written.
    """

    def __init__(
        self,
        keyring: Keyring,
        guard: KeyringGuard,
        secrets: SecretService,
        find_key: Callable[[], TokenKey | None],
        *,
        namespace: str = REPLIES,
    ) -> None:
        """Keep replies in *namespace*: a token opens only those of the same one.

        *find_key* returns the key that seals the tokens of makers.
        """
        self._namespace = namespace
        self._find_key = find_key
        self._keyring = keyring
        self._guard = guard
        self._secrets = secrets
        # Anyone who has tokens can look up many at once.
        self._store = SecretStore(max_bytes=MAX_BYTES, kept_in=namespace)

    def keep(self, token: WrappingToken, reply: bytes, origin: Origin, *, has_canary: bool = False) -> Origin:
        """Keep *reply* for the one who presents the new *token* during its life, at most `MAX_LIFETIME`.

        It is a JSON object that is not empty, and can have further bytes. With *has_canary*, unwrapping it
        counts as a read of a canary. Return its origin, whose life is not longer than that of its secret.

        The request that it answers has an entry; keeping the reply has no other.

        Raises:
            SecretTooLargeError: It is longer than `MAX_BYTES`.
            OverloadedError: Too many requests wait for MongoDB.
        """
        require_size(reply, MAX_BYTES)
        origin = self._within_secret(origin)
        # Encrypted together, so that no one else can say where a reply comes from.
        new_secret = NewSecret(
            plaintext=origin.join(reply), ttl_seconds=origin.seconds, max_reads=1, canary=has_canary
        )
        self._store.publish([new_secret.document(self._namespace, token.accessor)])
        return origin

    def unwrap(
        self, token: WrappingToken, make: Callable[[bytes], Made], *, attempt: Attempt
    ) -> tuple[Made, Origin]:
        """Return what *make* returns for the reply of *token*, and its origin: only one call gets them.

        If *make* raises an error, the token stays valid.

        Raises:
            InvalidWrappingTokenError: It is unknown, was unwrapped before, or has ended: see `require_valid`.
            SecretBusyError: The read ended before it was counted.
            DecryptionError: The stored reply does not verify.
        """
        reference = Reference(secret_id=token.accessor)
        # The token alone is the right to read it.
        reader = replace(attempt.principal, namespace=self._namespace, paths=ALL_PATHS)
        item = Fetch(attempt=replace(attempt, principal=reader, whole=attempt), reference=reference)

        def made(item: Fetch) -> tuple[Made, Origin]:
            origin, reply = Origin.split(item.plaintext)
            # On record even if it is refused.
            attempt.secret_id = token.accessor
            self.require_valid(origin)
            return make(reply), origin

        try:
            found = self._secrets.read(item, made)
        except SecretNotFoundError:
            raise InvalidWrappingTokenError("unknown") from None
        attempt.receipt = item.attempt.receipt
        return found

    def look_up(self, token: WrappingToken, *, attempt: Attempt) -> Origin:
        """Return where the reply of *token* comes from, without unwrapping it. Errors as `unwrap`."""
        origin, _ = self.peek(token)
        attempt.secret_id = token.accessor
        self.require_valid(origin)
        attempt.finish(Status.SUCCESS)
        return origin

    def peek(self, token: WrappingToken) -> tuple[Origin, bytes]:
        """Return the origin and the content of the reply of *token*, which stays wrapped, valid or not.

        Raises:
            InvalidWrappingTokenError: It is unknown, was unwrapped before, or has expired.
            DecryptionError: The stored reply does not verify.
        """
        return Origin.split(self._find(token).decrypt(self._keyring))

    def require_valid(self, origin: Origin) -> datetime:
        """Require that a reply of this *origin*, which has not expired, has not ended; return its end.

        It ends when its secret, or the version of which it has the value, can no longer be read, and when the
        right of its maker ends. It is valid again if the secret is restored.

        Raises:
            InvalidWrappingTokenError: It has ended.
            DecryptionError: The stored secret does not verify.
        """
        basis, now = origin.basis, clock.now()
        secret_end = ENDLESS
        if basis.secret_id:
            secret = self._find_secret(basis)
            if secret is None or not _is_readable(secret, basis.version, now):
                raise InvalidWrappingTokenError("its secret ended")
            secret_end = secret.expires_at or ENDLESS
        key = self._find_key()
        with storage_errors("find"):
            maker_end = basis.maker.end(key, since=origin.begin)
        if maker_end <= now:
            raise InvalidWrappingTokenError("its maker was revoked")
        return min(origin.end, secret_end, maker_end)

    def _within_secret(self, origin: Origin) -> Origin:
        """Return *origin* with a life that ends with its secret."""
        basis = origin.basis
        secret = self._find_secret(basis) if basis.secret_id else None
        if secret is None:
            return origin
        if secret.reads_left == 0:
            # This reply is its last read: no one can end the secret any more, and MongoDB removes it.
            origin = origin._replace(basis=Basis(basis.maker))
        if secret.expires_at is None:
            return origin
        left = math.ceil((secret.expires_at - origin.begin).total_seconds())
        return origin._replace(seconds=max(1, min(origin.seconds, left)))

    def _find_secret(self, basis: Basis) -> StoredSecret | None:
        """Return the secret of *basis* if it and the version exist; its limits are genuine."""
        version = basis.version or None
        query = {"_id": basis.secret_id, **NOT_KEPT}
        with storage_errors("find"):
            # Without the values of other versions, which can be megabytes.
            document = Secret.raw().find_one(
                query, bounded_fetch(MAX_BYTES, by_id=[(basis.secret_id, version)])
            )
        secret = StoredSecret(document) if document else None
        if secret is None or not (stored := secret.stored(version)):
            return None
        secret.decrypt_version(stored, self._keyring)
        return secret

    def spend(self, token: WrappingToken, *, attempt: Attempt) -> bool:
        """Make *token* invalid, because someone used it for something else; return False if it already was.

        Without its entry, the token stays valid.
        """
        try:
            held = read_limits.reserve_reads([self._find(token).id])
        except InvalidWrappingTokenError:
            return False
        reads = [read for read in held if read]
        if not reads:
            return False
        attempt.secret_id = token.accessor
        attempt.details["reason"] = "wrapping token"
        try:
            # Not as denied: the first few denials only have entries of their own.
            attempt.finish(Status.BAD_REQUEST)
        except VaultError:
            with best_effort_cleanup():
                read_limits.release_reads(reads)
            raise
        return read_limits.commit_reads(reads) == [True]

    def _find(self, token: WrappingToken) -> StoredSecret:
        self._guard.require()
        secret = self._store.find(token.accessor)
        if secret is None or not secret.is_visible(clock.now()):
            raise InvalidWrappingTokenError("unknown")
        return secret


def _is_readable(secret: StoredSecret, version: int, now: datetime) -> bool:
    return secret.is_visible(now) and (not version or secret.is_readable(version, now))


def unspent() -> Iterator[Sequence[str]]:
    """Yield the accessors of all replies and shares that no one has taken, in lists.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    now = clock.now()
    with storage_errors():
        stored = Secret.raw().find(_ANY, {**StoredSecret.NEWEST, "envelope": 0})
        secrets = map(StoredSecret, stored)
        found = (secret.id for secret in secrets if secret.is_visible(now))
        while some := list(islice(found, UNSPENT_AT_ONCE)):
            yield some


def end(accessor: str, *, attempt: Attempt) -> None:
    """Make the token of a reply invalid, after the entry of *attempt*.

    Raises:
        StorageUnavailableError, AuditUnavailableError: Repeat it.
    """
    attempt.secret_id = accessor
    attempt.finish(Status.SUCCESS)
    with storage_errors():
        Secret.raw().delete_one({"_id": accessor, **_ANY})
