"""Sign-in by OpenID Connect: from the console to the provider and back.

Nothing is stored meanwhile: the browser has a random cookie, from which the token key derives the state, the
nonce and the verifier of PKCE. So anonymous callers fill no database, and every replica can finish a sign-in.
Once the provider has named a person, the sign-in is used, on every replica: not all providers refuse a code
that was used.
"""

import hmac
import re
import secrets
from collections.abc import Mapping
from datetime import timedelta
from time import time
from typing import TYPE_CHECKING

from vault.common.errors import InvalidCredentialError
from vault.core.access.token_keys import TokenKeys
from vault.core.documents.guard import storage_errors
from vault.features.console.documents import use_sign_in

if TYPE_CHECKING:
    from vault.features.console.open_id_provider import OpenIDProvider

#: The time for which a person can be at the provider.
MAX_DURATION = timedelta(minutes=10)

#: Bytes of a cookie's random part, before base64.
_COOKIE_BYTES = 32
#: The time of the start, in seconds, and the random part.
_COOKIE = re.compile("([0-9]{1,12})\\.[A-Za-z0-9_-]{43}")

#: The errors that a provider sends back; others are recorded as `other`.
_ERRORS = frozenset(
    {
        *("access_denied", "invalid_request", "invalid_scope", "unauthorized_client", "server_error"),
        *("temporarily_unavailable", "unsupported_response_type", "login_required", "consent_required"),
        *("interaction_required", "account_selection_required"),
    }
)


class OpenID:
    """Sign-ins by the OpenID Connect *provider*; without one, none is offered."""

    def __init__(self, keys: TokenKeys, provider: "OpenIDProvider | None") -> None:
        self._keys = keys
        self._provider = provider

    @property
    def is_offered(self) -> bool:
        """True if there is a provider."""
        return self._provider is not None

    def begin(self, redirect_uri: str) -> tuple[str, str]:
        """Return the cookie of a new sign-in, and the provider's address, which leads on to *redirect_uri*.

        Raises:
            CredentialsUnavailableError: The provider does not answer.
            StorageUnavailableError: MongoDB is not available.
        """
        provider = self._required()
        cookie = f"{int(time())}.{secrets.token_urlsafe(_COOKIE_BYTES)}"
        key = self._keys.find_or_make()
        address = provider.address(
            redirect_uri,
            state=key.sign_in_text("state", cookie),
            nonce=key.sign_in_text("nonce", cookie),
            verifier=key.sign_in_text("verifier", cookie),
        )
        return cookie, address

    def credential(self, cookie: str, answer: Mapping[str, str], redirect_uri: str) -> str:
        """Return the ID token for the provider's *answer*, which came with the *cookie* of a sign-in.

        Its signature is not yet verified: `Sessions.begin` does that.

        Raises:
            InvalidCredentialError: The answer is a refusal, or not of this sign-in, or this sign-in was used.
            CredentialsUnavailableError: The provider does not answer.
            StorageUnavailableError: MongoDB is not available.
        """
        provider = self._required()
        key = self._keys.find()
        match = _COOKIE.fullmatch(cookie)
        if key is None or match is None:
            raise InvalidCredentialError("openid: no cookie")
        state = key.sign_in_text("state", cookie)
        # Before the age, which only the state proves.
        if not hmac.compare_digest(answer.get("state", "").encode(errors="replace"), state.encode()):
            raise InvalidCredentialError("openid: state")
        if not 0 <= time() - int(match[1]) <= MAX_DURATION.total_seconds():
            raise InvalidCredentialError("openid: too late")
        provider.require_issuer(answer.get("iss"))
        if error := answer.get("error"):
            raise InvalidCredentialError(f"openid: {error if error in _ERRORS else 'other'}")
        token = provider.id_token(
            answer.get("code", ""),
            redirect_uri,
            nonce=key.sign_in_text("nonce", cookie),
            verifier=key.sign_in_text("verifier", cookie),
        )
        with storage_errors():
            is_first = use_sign_in(key.sign_in_text("use", cookie))
        if not is_first:
            raise InvalidCredentialError("openid: used")
        return token

    def _required(self) -> "OpenIDProvider":
        if self._provider is None:
            raise InvalidCredentialError("openid: no provider")
        return self._provider
