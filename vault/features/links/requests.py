"""Requests for values: links by which someone without a credential stores one value under one name, once."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from secrets import token_urlsafe

from vault.common import clock
from vault.common.errors import NameTakenError, SecretTooLargeError, VaultError
from vault.common.outcomes import Status
from vault.common.paths import ALL_PATHS
from vault.common.timestamps import moment, to_milliseconds
from vault.core.access.publishing import publish
from vault.core.access.token_keys import TokenKeys
from vault.core.attempt import Attempt
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.documents.maker import Maker
from vault.core.principal import plain_name
from vault.core.secrets import reach
from vault.core.secrets.requests import NewSecret
from vault.core.secrets.service import SecretService, require_size
from vault.core.secrets.store import SecretStore
from vault.features.links.documents import ValueRequest
from vault.features.links.errors import InvalidLinkError

#: The prefix of the tokens in their links.
PREFIX = "smr_"

_RANDOM_BYTES = 32
_FORM = re.compile(PREFIX + "[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """A new request: its token, which only this reply contains, and its expiry."""

    token: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestInfo:
    """The public fields of a request, for the holder of its link."""

    requested_by: str
    name: str
    expires_at: datetime
    max_bytes: int


class Requests:
    """The requests for values of one deployment.

    Methods raise `StorageUnavailableError` without MongoDB, and `AuditUnavailableError` if an entry could not
    be written: then nothing has happened.
    """

    def __init__(self, keys: TokenKeys, secrets: SecretService, *, max_bytes: int) -> None:
        self._keys = keys
        self._max_bytes = max_bytes
        self._secrets = secrets
        self._store = SecretStore()
        self._is_indexed = False

    def create(
        self, name: str, *, seconds: int, max_bytes: int | None = None, attempt: Attempt
    ) -> NewRequest:
        """Ask for a value of up to *max_bytes*, by default as many as possible, for the new secret *name*.

        Raises:
            SecretTooLargeError: *max_bytes* is more than the limit.
            CredentialRequiredError: The caller has no credential.
            OutsidePathsError: The name is outside the principal's paths.
            NameTakenError: A secret of the namespace has the name.
            InvalidCredentialError: The caller was revoked in the meantime.
        """
        creator = attempt.principal
        reach.require_credential(name, attempt)
        reach.require_within(name, attempt)
        max_bytes = max_bytes or self._max_bytes
        if max_bytes > self._max_bytes:
            raise SecretTooLargeError(f"A secret may have at most {self._max_bytes} bytes.")
        if self._store.has_name(creator.namespace, name):
            raise NameTakenError
        now = clock.now()
        expires_at = to_milliseconds(now + timedelta(seconds=seconds))
        attempt.details |= {"expires_at": moment(expires_at), "max_bytes": max_bytes}
        key, token = self._keys.find_or_make(), PREFIX + token_urlsafe(_RANDOM_BYTES)
        request = ValueRequest(
            id=key.hash(token),
            name=name,
            namespace=creator.namespace,
            max_bytes=max_bytes,
            created_at=to_milliseconds(now),
            created_by=creator.name,
            token_id=creator.token_id,
            role=creator.role,
            expires_at=expires_at,
        )
        request.close(key)
        if not self._is_indexed:
            with storage_errors():
                ValueRequest.index()
            self._is_indexed = True
        publish(request, attempt=attempt)
        return NewRequest(token=token, expires_at=expires_at)

    def look_up(self, token: str, *, attempt: Attempt) -> RequestInfo:
        """Return what the request with this *token* asks for.

        Raises:
            InvalidLinkError: The token is unknown, was used before, or has expired; or its maker was revoked.
        """
        request = self._find(token, attempt)
        attempt.finish(Status.SUCCESS)
        return RequestInfo(
            requested_by=plain_name(request.created_by, request.namespace),
            name=request.name,
            expires_at=request.expires_at,
            max_bytes=request.max_bytes,
        )

    def fill(self, token: str, value: bytes, *, attempt: Attempt) -> None:
        """Store *value* as the secret that the request with this *token* asks for, once.

        Raises:
            InvalidLinkError: As `look_up`.
            SecretTooLargeError: The value is larger than the request or the service allows.
            NameTakenError: Another secret got the name in the meantime.
        """
        request = self._find(token, attempt)
        require_size(value, request.max_bytes)
        attempt.details |= {"request": True, "requested_by": request.created_by}
        # The token alone is the right to create this one secret.
        writer = replace(attempt.principal, namespace=request.namespace, paths=ALL_PATHS, authenticated=True)
        part = replace(attempt, principal=writer, whole=attempt)
        # First: the link is at its end even if no one can remove it afterwards, and the secret is purged.
        with storage_errors():
            if not request.take():
                raise InvalidLinkError("unknown")
        try:
            self._secrets.create(NewSecret(plaintext=value, name=request.name), attempt=part)
        except VaultError:
            with best_effort_cleanup():
                request.activate()
            raise
        attempt.receipt = part.receipt
        with best_effort_cleanup():
            request.withdraw()

    def _find(self, token: str, attempt: Attempt) -> ValueRequest:
        if not _FORM.fullmatch(token):
            raise InvalidLinkError("malformed")
        key, now = self._keys.find(), clock.now()
        with storage_errors("find"):
            request = ValueRequest.of_holder(token, key, now) if key else None
            if key is None or request is None:
                raise InvalidLinkError("unknown")
            reach.record(request.namespace, request.name, attempt)
            maker = Maker(request.token_id, request.role)
            if maker.end(key, since=request.created_at) <= now:
                raise InvalidLinkError("its maker was revoked")
        return request
