"""The provider of OpenID Connect: its endpoints, and the exchange of codes for ID tokens, by Authlib."""

import json
import logging
import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from threading import Lock
from time import monotonic
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.client import OAuth2Client
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc.errors import JoseError
from jwt.utils import base64url_decode

from vault.common.errors import CredentialsUnavailableError, InvalidCredentialError
from vault.common.networks import is_loopback
from vault.common.timed_call import CallTimeoutError, Result, call_within
from vault.core.access.fetching import FETCH_SECONDS, LEEWAY_SECONDS, MAX_WAITING, RETRY_SECONDS
from vault.toolkit.client.http import USER_AGENT, HTTPClient, RequestFailedError

logger = logging.getLogger(__name__)

#: Seconds that the provider's metadata is cached; after that, until it can be fetched again.
METADATA_SECONDS = 3_600

#: Maximum size of a reply of the provider, in bytes.
MAX_REPLY_BYTES = 262_144

#: The scopes whose claims can be conditions of roles, where the provider knows them.
_SCOPES = ("profile", "email", "groups")
#: The way to authenticate that every provider must know.
_BASIC = "client_secret_basic"

_CODE = re.compile("[!-~]{1,2048}")
_ERROR = re.compile("[a-z_]{1,40}")


class _UnusableError(Exception):
    """The provider answers, and its answer cannot be used; the text says why, and quotes nothing secret."""


class _Calls:
    """Calls of a server that may not answer, on behalf of callers that anyone can be.

    At most `MAX_WAITING` calls wait, each for a limited time, and after a failure there is a pause.
    """

    def __init__(self, host: str | None) -> None:
        self._host = host
        self._lock = Lock()
        self._waiting = 0
        self._failed = -float("inf")

    def perform(self, call: Callable[[], Result]) -> Result:
        """Return the result of *call*.

        Raises:
            CredentialsUnavailableError: The server does not answer, or not with what it should.
        """
        with self._lock:
            if monotonic() - self._failed < RETRY_SECONDS or self._waiting >= MAX_WAITING:
                raise CredentialsUnavailableError
            self._waiting += 1
        reason: object
        try:
            # The client's timeout does not limit the look-up of a name.
            return call_within(FETCH_SECONDS, call)
        except InvalidCredentialError as error:
            raise error.detached() from None
        except _UnusableError as error:
            # It costs no wait.
            reason = error
        except Exception as error:  # noqa: BLE001 - the provider can send anything
            self._failed = monotonic()
            reason = (
                error if isinstance(error, RequestFailedError | CallTimeoutError) else type(error).__name__
            )
        finally:
            with self._lock:
                self._waiting -= 1
        logger.warning("the OpenID provider failed: %s: %s", self._host, reason)
        raise CredentialsUnavailableError


@dataclass(frozen=True, slots=True)
class _Metadata:
    """The parts of the provider's metadata that are used here."""

    authorization_endpoint: str
    token_endpoint: str
    #: How the client authenticates.
    method: str
    #: Decides which claims the ID token has.
    scope: str
    #: True if each answer must have the issuer (RFC 9207).
    names_issuer: bool
    since: float

    @classmethod
    def of(cls, content: bytes, issuer: str) -> "_Metadata":
        """Return the metadata in *content*. Raises `_UnusableError` if it cannot be the one of *issuer*."""
        try:
            document = json.loads(content)
        except (RecursionError, ValueError):
            document = None
        if not isinstance(document, dict):
            raise _UnusableError("its metadata is not a JSON object")
        if document.get("issuer") != issuer:
            raise _UnusableError("its metadata has another issuer than OIDC_ISSUER")
        endpoints = [document.get(f"{name}_endpoint") for name in ("authorization", "token")]
        # A provider elsewhere does not send requests to this machine.
        schemes = ("https", "http") if issuer.startswith("http:") else ("https",)
        if not all(_is_private(url, schemes) for url in endpoints):
            raise _UnusableError("its endpoints are not https://…")
        methods = document.get("token_endpoint_auth_methods_supported")
        is_basic = not isinstance(methods, list) or _BASIC in methods
        known = document.get("scopes_supported", _SCOPES)
        scopes = [scope for scope in _SCOPES if isinstance(known, list | tuple) and scope in known]
        return cls(
            authorization_endpoint=str(endpoints[0]),
            token_endpoint=str(endpoints[1]),
            method=_BASIC if is_basic else "client_secret_post",
            scope=" ".join(["openid", *scopes]),
            names_issuer=document.get("authorization_response_iss_parameter_supported") is True,
            since=monotonic(),
        )


def _is_private(url: object, schemes: Sequence[str]) -> bool:
    """Return whether *url* has one of *schemes*, and requests to it are encrypted or stay on this machine."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        return False
    return bool(host) and parts.scheme in schemes and (parts.scheme == "https" or is_loopback(host))


class OpenIDProvider:
    """The provider with this *issuer*, for one client."""

    def __init__(self, issuer: str, client_id: str, client_secret: str) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._calls = _Calls(urlsplit(issuer).hostname)
        self._fetching = Lock()
        self._metadata: _Metadata | None = None

    def address(self, redirect_uri: str, *, state: str, nonce: str, verifier: str) -> str:
        """Return the address at which a person signs in, and that leads on to *redirect_uri*.

        Raises:
            CredentialsUnavailableError: The provider does not answer.
        """
        metadata = self._current()
        client = self._client(metadata, redirect_uri)
        address, _ = client.create_authorization_url(
            metadata.authorization_endpoint, state=state, nonce=nonce, code_verifier=verifier
        )
        return str(address)

    def require_issuer(self, issuer: str | None) -> None:
        """Require that an answer with this *issuer*, if it names one, comes from the provider (RFC 9207).

        Raises:
            InvalidCredentialError: It comes from another, or must name one and does not.
        """
        if issuer != self._issuer and (issuer is not None or self._current().names_issuer):
            raise InvalidCredentialError("openid: issuer of the answer")

    def id_token(self, code: str, redirect_uri: str, *, nonce: str, verifier: str) -> str:
        """Return the ID token for *code*; its claims are checked, its signature is not.

        Raises:
            InvalidCredentialError: The provider refuses the code, or the ID token is of another sign-in.
            CredentialsUnavailableError: The provider does not answer.
        """
        if not _CODE.fullmatch(code):
            raise InvalidCredentialError("openid: code")
        metadata = self._current()
        client = self._client(metadata, redirect_uri)
        reply = self._calls.perform(
            lambda: _exchanged(client, metadata.token_endpoint, code=code, code_verifier=verifier)
        )
        id_token = reply.get("id_token")
        if not isinstance(id_token, str):
            raise InvalidCredentialError("openid: no ID token")
        self._require_claims(id_token, nonce, reply.get("access_token"))
        return id_token

    def _require_claims(self, id_token: str, nonce: str, access_token: object) -> None:
        try:
            header, claims, _ = id_token.split(".")
            token = CodeIDToken(
                json.loads(base64url_decode(claims)),
                json.loads(base64url_decode(header)),
                options={"iss": {"essential": True, "value": self._issuer}},
                params={"nonce": nonce, "client_id": self._client_id, "access_token": access_token},
            )
            token.validate(leeway=LEEWAY_SECONDS)
        except JoseError as error:
            claim = str(getattr(error, "claim", "") or type(error).__name__)
            raise InvalidCredentialError(f"openid: claim {claim}") from None
        except (RecursionError, TypeError, ValueError, KeyError, AttributeError):
            raise InvalidCredentialError("openid: ID token") from None

    def _client(self, metadata: _Metadata, redirect_uri: str) -> OAuth2Client:
        client = OAuth2Client(
            _Session(),
            self._client_id,
            self._client_secret,
            token_endpoint_auth_method=metadata.method,
            redirect_uri=redirect_uri,
            scope=metadata.scope,
            code_challenge_method="S256",
        )
        client.register_client_auth_method((_BASIC, _basic))
        return client

    def _current(self) -> _Metadata:
        if self._is_fresh() and self._metadata:
            return self._metadata
        try:
            return self._calls.perform(self._fetched)
        except CredentialsUnavailableError:
            if self._metadata:
                return self._metadata
            raise

    def _is_fresh(self) -> bool:
        return self._metadata is not None and monotonic() - self._metadata.since < METADATA_SECONDS

    def _fetched(self) -> _Metadata:
        with self._fetching:
            if not (self._is_fresh() and self._metadata):
                reply = _sent("GET", get_well_known_url(self._issuer, external=True))
                if reply.status_code != HTTPStatus.OK:
                    raise _UnusableError(f"its metadata has the status {reply.status_code}")
                self._metadata = _Metadata.of(reply.content, self._issuer)
            return self._metadata


def _exchanged(client: OAuth2Client, address: str, **fields: str) -> dict[str, Any]:
    """Return the reply of the token endpoint at *address*.

    Raises:
        InvalidCredentialError: It refuses the code.
    """
    try:
        return dict(client.fetch_token(address, **fields))
    except OAuth2Error as error:
        reason = error.error if _ERROR.fullmatch(str(error.error)) else "other"
        if reason != "invalid_grant":
            # A mistake of operators, not of callers.
            logger.warning("the OpenID provider refuses the service: %s", reason)
        raise InvalidCredentialError(f"openid: {reason}") from None


def _basic(auth: Any, _method: str, uri: str, headers: dict[str, str], body: str) -> tuple[Any, ...]:
    """Authenticate the client. RFC 6749 has both parts encoded, which the library leaves out."""
    pair = ":".join(map(quote_plus, (auth.client_id, auth.client_secret)))
    return uri, {**headers, "Authorization": f"Basic {b64encode(pair.encode()).decode()}"}, body


class _Session:
    """Stand in for a session of the library `requests`, for Authlib."""

    def post(self, url: str, *, data: Mapping[str, str], headers: Mapping[str, str], auth: Any) -> "_Reply":
        _, headers, body = auth.prepare("POST", url, dict(headers), urlencode(data))
        return _sent("POST", url, headers, body.encode())


@dataclass(frozen=True, slots=True)
class _Reply:
    """A reply of the provider, as Authlib reads one."""

    status_code: int
    content: bytes

    def json(self) -> Any:
        found = json.loads(self.content)
        # The library refuses one with other characters than ASCII's, and nothing here reads it.
        return {**found, "error_description": None} if isinstance(found, dict) else found

    def raise_for_status(self) -> None:
        # Called where there is no JSON object, whatever the status.
        raise _UnusableError(f"its token endpoint replies with the status {self.status_code}")


def _sent(
    method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> _Reply:
    """Return the provider's reply. Raises `RequestFailedError`."""
    parts = urlsplit(url)
    client = HTTPClient(url, max_bytes=MAX_REPLY_BYTES, allows_proxy=True)
    reply = client.request(
        method,
        f"{parts.path or '/'}?{parts.query}".rstrip("?"),
        headers={"Accept": "application/json", "User-Agent": USER_AGENT, **(headers or {})},
        body=body,
        timeout=FETCH_SECONDS,
    )
    return _Reply(reply.status, reply.content)
