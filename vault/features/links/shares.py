"""Shares: values that one person can open, once, by the token in a link."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from vault.common import clock
from vault.common.errors import InvalidWrappingTokenError, VaultError
from vault.common.greenlets import in_thread
from vault.common.networks import source
from vault.common.outcomes import Status
from vault.common.timestamps import moment
from vault.common.turns import Turns
from vault.core.attempt import Attempt
from vault.core.crypto import Keyring
from vault.core.crypto.token_key import TokenKey
from vault.core.keys.guard import KeyringGuard
from vault.core.principal import plain_name
from vault.core.secrets.items import Fetch, Reserve, need_not_reserve
from vault.core.secrets.requests import SHARES, Reference
from vault.core.secrets.service import SecretService, require_size
from vault.core.secrets.wrapping import Basis, Origin, Wrapping, WrappingToken
from vault.features.links import tries
from vault.features.links.errors import InvalidLinkError, WrongPassphraseError
from vault.features.links.passphrase import Cipher, new_salt, salt_of
from vault.features.links.tries import Try

#: In place of the path of a request.
_PATH = "secret/share"

MAX_PASSPHRASE_CHARACTERS = 256

#: The longest wait for the check of another passphrase. A process makes one at a time: each takes a processor
#: for 0.1 s, and 32 MiB.
_WAIT_TIMEOUT_SECONDS = 3.0

#: The number that are checked in that time.
MAX_CHECKS = 30

#: The size from which an opened value needs memory that is reserved.
_LARGE_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms of a share."""

    #: The time until it expires, in seconds.
    seconds: int
    #: Empty for none.
    passphrase: str = field(repr=False)

    @property
    def details(self) -> dict[str, Any]:
        """The details of the entry."""
        return {"share": True, "seconds": self.seconds, "passphrase": bool(self.passphrase)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewShare:
    """A new share: its token, which only this reply contains, and its expiry."""

    token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A stored share."""

    #: The principal that shared it, within its namespace.
    shared_by: str
    expires_at: datetime
    has_passphrase: bool
    #: What the entry of its opening says of it.
    details: dict[str, Any] = field(repr=False)
    #: Encrypted if it has a passphrase.
    value: bytes = field(repr=False)

    @classmethod
    def of(cls, origin: Origin, content: bytes) -> "Share":
        """Return the share that is stored as *content*, with its own expiry."""
        text, _, value = content.partition(b"\n")
        header = json.loads(text)
        details = {name: header[name] for name in ("name", "namespace", "version") if header.get(name)}
        return cls(
            shared_by=plain_name(header["shared_by"], header["namespace"]),
            expires_at=origin.end,
            has_passphrase=header["has_passphrase"],
            details={**details, "share": True, "shared_by": header["shared_by"]},
            value=value,
        )


class Shares:
    """The shares of one deployment.

    Methods raise `StorageUnavailableError` without MongoDB, and `AuditUnavailableError` if an entry could not
    be written: then nothing was released.
    """

    def __init__(
        self,
        keyring: Keyring,
        guard: KeyringGuard,
        secrets: SecretService,
        find_key: Callable[[], TokenKey | None],
        *,
        max_bytes: int,
    ) -> None:
        """Share values of up to *max_bytes*; *find_key* as that of `Wrapping`."""
        self._secrets = secrets
        self._max_bytes = max_bytes
        self._wrapping = Wrapping(keyring, guard, secrets, find_key, namespace=SHARES)
        self._checks = Turns(MAX_CHECKS, seconds=_WAIT_TIMEOUT_SECONDS)

    def share_secret(
        self, reference: Reference, terms: Terms, *, reserve: Reserve, attempt: Attempt
    ) -> NewShare:
        """Share the newest value of a secret. It is read for that, with the entry of a wrapped fetch.

        Raises the errors of `SecretService.fetch`, and `OverloadedError` as `open`: then nothing was read.
        """
        token = WrappingToken.new()
        attempt.success_details |= {"wrapped": True, "accessor": token.accessor, **terms.details}
        item = Fetch(attempt=attempt, reference=reference, reserve=reserve)
        # The cipher is slow: it is made only for a secret that can be read. It can be refused: it is made
        # before the read counts, which may be the last one.
        value, cipher = self._secrets.read(
            item, lambda found: (found.plaintext, self._new_cipher(terms, attempt))
        )
        about = {"name": item.name, "version": item.fetched_version}
        return self._keep(token, value, terms, cipher, about, attempt, has_canary=item.is_canary)

    def share_value(self, value: bytes, terms: Terms, *, attempt: Attempt) -> NewShare:
        """Share *value*, which is stored nowhere else.

        Raises:
            SecretTooLargeError: It is longer than the limit in bytes.
            OverloadedError: As `open`.
        """
        require_size(value, self._max_bytes)
        token = WrappingToken.new()
        attempt.success_details |= {"accessor": token.accessor, **terms.details}
        cipher = self._new_cipher(terms, attempt)
        attempt.finish(Status.SUCCESS)
        return self._keep(token, value, terms, cipher, {}, attempt)

    def _keep(
        self,
        token: WrappingToken,
        value: bytes,
        terms: Terms,
        cipher: Cipher | None,
        about: dict[str, Any],
        attempt: Attempt,
        *,
        has_canary: bool = False,
    ) -> NewShare:
        if cipher:
            value = cipher.encrypt(value, _bound_to(token))
        header = {
            **about,
            "namespace": attempt.principal.namespace,
            "shared_by": attempt.principal.name,
            "has_passphrase": cipher is not None,
        }
        origin = Origin(_PATH, moment(clock.now()), terms.seconds, Basis.of(attempt))
        content = json.dumps(header).encode() + b"\n" + value
        origin = self._wrapping.keep(token, content, origin, has_canary=has_canary)
        return NewShare(token=token.text, expires_at=origin.end)

    def look_up(self, token: str, *, attempt: Attempt) -> Share:
        """Return the share with this *token*, without opening it.

        Raises:
            InvalidLinkError: The token is unknown, was used before, or has expired.
        """
        _, share = self._find(token, attempt)
        attempt.finish(Status.SUCCESS)
        return share

    def open(
        self, token: str, passphrase: str, *, reserve: Reserve = need_not_reserve, attempt: Attempt
    ) -> bytes:
        """Return the value of the share with this *token*: of all calls, only one gets it.

        A wrong passphrase does not spend it, unless it is the last of `tries.MAX_TRIES`. *reserve* is called
        before a large value is spent. Raises its errors, too.

        Raises:
            InvalidLinkError: The token is unknown, was used before, or has expired.
            WrongPassphraseError: The passphrase is missing or wrong.
            OverloadedError: Too many passphrases are being checked.
        """
        found, share = self._find_with_memory(token, reserve, attempt)
        if not share.has_passphrase:
            return self._spend(found, share.value, attempt)
        if not passphrase:
            raise WrongPassphraseError("no passphrase")
        # Before the check, which is slow: no more callers than tries get there.
        held = tries.hold(found.accessor)
        if held is None:
            raise InvalidLinkError("no try left")
        try:
            cipher = self._cipher(passphrase, salt_of(share.value), attempt)
            value = cipher.decrypt(share.value, _bound_to(found))
            if value is not None:
                return self._spend(found, value, attempt)
            _record_wrong(held, attempt)
        except VaultError:
            # The passphrase is not known to be wrong, or that is not on record.
            tries.release(held)
            raise
        tries.count(held)
        raise WrongPassphraseError("passphrase")

    def _find_with_memory(self, text: str, reserve: Reserve, attempt: Attempt) -> tuple[WrappingToken, Share]:
        # Alone: what waits for memory must not hold the values of all who wait.
        found = [self._find(text, attempt)]
        if (size := len(found[0][1].value)) > _LARGE_BYTES:
            reserve(2 * size, found.clear)
        return found.pop() if found else self._find(text, attempt)

    def _find(self, text: str, attempt: Attempt) -> tuple[WrappingToken, Share]:
        token = WrappingToken(text)
        try:
            origin, content = self._wrapping.peek(token)
            share = Share.of(origin, content)
            attempt.secret_id = token.accessor
            attempt.details |= share.details
            return token, replace(share, expires_at=self._wrapping.require_valid(origin))
        except InvalidWrappingTokenError as error:
            raise InvalidLinkError(error.reason) from None

    def _spend(self, token: WrappingToken, value: bytes, attempt: Attempt) -> bytes:
        """Spend *token*, and return its *value* if no one else gets it."""
        try:
            return self._wrapping.unwrap(token, lambda _: value, attempt=attempt)[0]
        except InvalidWrappingTokenError as error:
            raise InvalidLinkError(error.reason) from None

    def _new_cipher(self, terms: Terms, attempt: Attempt) -> Cipher | None:
        return self._cipher(terms.passphrase, new_salt(), attempt) if terms.passphrase else None

    def _cipher(self, passphrase: str, salt: bytes, attempt: Attempt) -> Cipher:
        with self._checks.of(source(attempt.ip)):
            return in_thread(lambda: Cipher(passphrase, salt))


def _record_wrong(held: Try, attempt: Attempt) -> None:
    """Write the entry of a wrong passphrase, which uses up the *held* try."""
    attempt.details |= {"reason": "passphrase", "try": held.number}
    attempt.has_effect = True
    attempt.finish(Status.BAD_REQUEST)


def _bound_to(token: WrappingToken) -> bytes:
    """Return what an encrypted value is bound to: it opens under its own token only."""
    return b"secret-manager share\x00" + token.accessor.encode()
