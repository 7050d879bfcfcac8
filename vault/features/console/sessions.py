"""Sessions of people who signed in to the console.

A session gives no right of its own: each request acts with the credential of its sign-in, which is checked as
if it came with the request. So what ends, narrows or revokes the credential does the same to its sessions.
Only the expiry of an ID token, often minutes away, does not: it is for the sign-in alone.
"""

import re
import secrets
from datetime import datetime, timedelta

from vault.common import clock
from vault.common.errors import InvalidCredentialError
from vault.common.outcomes import Status
from vault.common.timestamps import to_milliseconds
from vault.core.access.authenticator import Authenticator
from vault.core.access.publishing import publish
from vault.core.access.token_keys import TokenKeys
from vault.core.attempt import Attempt
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.features.console.documents import Held, Session

#: The longest session, and the longest time between two requests of one.
MAX_LIFETIME = timedelta(hours=8)
MAX_IDLE = timedelta(minutes=30)

#: The time for which a use is not stored again. An idle session ends up to this much earlier.
_RESOLUTION = timedelta(minutes=1)

#: Bytes of a cookie's value, before base64.
_COOKIE_BYTES = 32
_COOKIE = re.compile("[A-Za-z0-9_-]{43}")


class Sessions:
    """The sessions of one deployment.

    Methods raise `StorageUnavailableError` if MongoDB is not available, and `AuditUnavailableError` if the
    entry could not be written: then nothing has happened.
    """

    def __init__(self, keys: TokenKeys, authenticator: Authenticator) -> None:
        self._keys = keys
        self._authenticator = authenticator
        self._is_indexed = False

    def begin(self, credential: str, *, is_id_token: bool = False, earlier: str, attempt: Attempt) -> str:
        """Identify the principal of *attempt* by its *credential*; return the cookie of a new session.

        A JWT acts with the only role that matches. If several match, the session does nothing until its
        holder has chosen one. An ID token needs a role, and the session can outlast it.

        It replaces the session with the cookie *earlier*, if there is one.

        Raises the errors of `Authenticator.identify`.

        Raises:
            InvalidCredentialError: No role matches the ID token.
        """
        held = Held(credential, is_id_token=is_id_token)
        try:
            self._authenticator.identify(credential, attempt=attempt)
        except InvalidCredentialError as error:
            if not error.roles:
                raise
            attempt.details["reason"] = "role to be chosen"
        else:
            held = held._replace(role=attempt.principal.role)
            if is_id_token and not held.role:
                raise InvalidCredentialError("role: none", principal=attempt.principal.name)
        return self._begun(held, _now() + MAX_LIFETIME, earlier=earlier, attempt=attempt)

    def _begun(self, held: Held, ends_at: datetime, *, earlier: str, attempt: Attempt) -> str:
        """Return the cookie of a new session, which replaces the one with the cookie *earlier*."""
        key = self._keys.find_or_make()
        cookie = secrets.token_urlsafe(_COOKIE_BYTES)
        name = attempt.principal.name
        session = Session.new(cookie, held, key, principal=name, now=_now(), ends_at=ends_at)
        if not self._is_indexed:
            with storage_errors():
                Session.index()
            self._is_indexed = True
        publish(session, attempt=attempt)
        self.forget(earlier)
        return cookie

    def forget(self, cookie: str) -> None:
        """End the session with this *cookie*, if there is one, because its browser signs in again."""
        with best_effort_cleanup():
            if cookie and (key := self._keys.find()):
                Session(id=key.hash(cookie)).withdraw()

    def choose(self, role: str, *, cookie: str, attempt: Attempt) -> str:
        """Return the cookie of the session that replaces the one with *cookie*, and acts with this *role*.

        It ends when that one would. Raises the errors of `begin` and `identify`.
        """
        session, key = self._current(cookie)
        held = session.held(cookie, key)._replace(role=role)
        self._act(held, attempt)
        if not attempt.principal.role:
            raise InvalidCredentialError("role: none", principal=attempt.principal.name)
        return self._begun(held, session.ends_at, earlier=cookie, attempt=attempt)

    def identify(self, cookie: str, *, attempt: Attempt) -> None:
        """Set the principal of *attempt* by the session with this *cookie*.

        Raises the errors of `Authenticator.identify`.

        Raises:
            InvalidCredentialError: There is no such session, or it has ended.
        """
        session, key = self._current(cookie)
        self._act(session.held(cookie, key), attempt)
        now = _now()
        if now - session.used_at >= _RESOLUTION:
            with storage_errors():
                session.note_use(now, key)

    def _act(self, held: Held, attempt: Attempt) -> None:
        """Set the principal of *attempt* by what a session holds."""
        self._authenticator.identify(
            held.credential, role=held.role, may_be_expired=held.is_id_token, attempt=attempt
        )
        # The roles that it could choose from can have ended.
        if held.is_id_token and not attempt.principal.role:
            raise InvalidCredentialError("role: none", principal=attempt.principal.name)

    def end(self, cookie: str, *, attempt: Attempt) -> None:
        """End the session with this *cookie*, on every replica at once."""
        session, _ = self._found(cookie)
        attempt.finish(Status.SUCCESS)
        with storage_errors():
            session.withdraw()

    def form_token(self, cookie: str) -> str:
        """Return the text that proves that a form is of the session with this *cookie*."""
        return self._key().form_token(cookie)

    def _current(self, cookie: str) -> tuple[Session, TokenKey]:
        session, key = self._found(cookie)
        if _now() >= min(session.ends_at, session.used_at + MAX_IDLE):
            raise InvalidCredentialError("session")
        return session, key

    def _found(self, cookie: str) -> tuple[Session, TokenKey]:
        key = self._key()
        if _COOKIE.fullmatch(cookie):
            with storage_errors():
                session = Session.of_holder(cookie, key)
            if session:
                return session, key
        raise InvalidCredentialError("session")

    def _key(self) -> TokenKey:
        """Return the token key. Without one, there are no sessions."""
        key = self._keys.find()
        if key is None:
            raise InvalidCredentialError("session")
        return key


def _now() -> datetime:
    return to_milliseconds(clock.now())
