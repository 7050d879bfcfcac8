"""JSON Web Tokens as credentials. PyJWT verifies them; this module has the requirements and the keys."""

import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from threading import Lock, Thread
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.exceptions import PyJWKClientError, PyJWTError
from jwt.utils import base64url_decode

from vault.common.errors import CredentialsUnavailableError, InvalidCredentialError
from vault.common.text import is_blank
from vault.core.access.fetching import FETCH_SECONDS, LEEWAY_SECONDS, MAX_WAITING, RETRY_SECONDS
from vault.core.principal import DEFAULT_NAMESPACE, Principal, is_name, scopes_named
from vault.toolkit.client.http import USER_AGENT, HTTPClient, RequestFailedError

logger = logging.getLogger(__name__)

#: Asymmetric algorithms only: with a shared secret, anyone who verifies can also sign.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)

#: Lifetime of a fetched key set.
KEPT_SECONDS = 300

#: The maximum size of a key set. Public issuers have key sets of a few kilobytes.
MAX_KEY_SET_BYTES = 1_048_576

#: The first characters of the algorithms for each type of key.
_ALGORITHM_KINDS: dict[type, tuple[str, ...]] = {
    RSAPublicKey: ("RS", "PS"),
    EllipticCurvePublicKey: ("ES",),
    Ed25519PublicKey: ("EdDSA",),
}

#: Maximum characters of `sub`, and of the longer subjects of issuers whose JWTs act through roles.
_MAX_SUBJECT_CHARACTERS = 128
MAX_LONG_SUBJECT_CHARACTERS = 512
_MAX_CHARACTERS = 8_192
_REQUIRED = ["exp", "iss", "aud", "sub"]

#: Returns the key that a token's header names.
KeySource = Callable[[dict[str, Any]], Any]

Claims = dict[str, Any]


class JWTVerifier:
    """Verifies JWTs of one issuer for one audience with the keys from *key*."""

    def __init__(
        self, key: KeySource, *, issuer: str, audience: str, algorithms: Sequence[str] = ALGORITHMS
    ) -> None:
        self._key = key
        self.issuer = issuer
        self.audience = audience
        self._algorithms = algorithms

    def claims(self, credential: str, *, may_be_expired: bool = False) -> Claims:
        """Return the claims of *credential*.

        Raises:
            InvalidCredentialError: It is not a valid JWT of the issuer for the audience.
            CredentialsUnavailableError: The issuer's keys are not available now.
        """
        try:
            return self._claims(credential, may_be_expired=may_be_expired)
        except (PyJWTError, TypeError, ValueError) as error:
            raise InvalidCredentialError(f"jwt {type(error).__name__}") from None

    def _claims(self, credential: str, *, may_be_expired: bool) -> Claims:
        if len(credential) > _MAX_CHARACTERS:
            raise jwt.DecodeError
        header = jwt.get_unverified_header(credential)
        # Before the key is looked up: the issuer is not asked for keys that cannot verify it.
        if header.get("alg") not in self._algorithms:
            raise jwt.InvalidAlgorithmError
        claims: Claims = jwt.decode(
            credential,
            self._key(header),
            algorithms=self._algorithms,
            issuer=self.issuer,
            audience=self.audience,
            leeway=LEEWAY_SECONDS,
            options={
                "require": _REQUIRED,
                "enforce_minimum_key_length": True,
                "verify_exp": not may_be_expired,
            },
        )
        return claims


class JWTAuthenticator:
    """Authenticates JWTs of the issuer in the settings; without a *verifier*, refuses every JWT."""

    def __init__(self, verifier: JWTVerifier | None, *, roles_only: bool = False) -> None:
        self.verifier = verifier
        #: True if its JWTs act through roles, never with their own scopes.
        self.roles_only = roles_only

    def principal(self, credential: str) -> Principal:
        """Return the subject of *credential*, with the scopes and the namespace of its claims.

        Errors as `JWTVerifier.claims`.
        """
        if self.verifier is None:
            raise InvalidCredentialError("malformed")
        return own_principal(self.verifier.claims(credential))


def own_principal(claims: Claims) -> Principal:
    """Return the subject of verified *claims*, with their scopes and namespace.

    Raises:
        InvalidCredentialError: The claims are not as they must be.
    """
    # Token names have no colon, so no JWT can pass for a token.
    name = f"jwt:{subject(claims)}"
    namespace, scope = claims.get("namespace", DEFAULT_NAMESPACE), claims.get("scope", "")
    if not (isinstance(namespace, str) and is_name(namespace)):
        raise InvalidCredentialError("jwt namespace", principal=name)
    if not isinstance(scope, str):
        raise InvalidCredentialError("jwt scope", principal=name)
    return Principal(
        name=name,
        namespace=namespace,
        scopes=scopes_named(scope.split(" ")),
        expires_at=expiry(claims, principal=name),
    )


def settings_authenticator(
    *,
    jwks_url: str | None,
    public_key: str | None,
    issuer: str | None,
    audience: str | None,
    roles_only: bool = False,
) -> JWTAuthenticator:
    """Return the authenticator for the issuer in the settings, which agree with each other."""
    if not (jwks_url or public_key):
        return JWTAuthenticator(None)
    verifier = JWTVerifier(key_source(jwks_url, public_key), issuer=str(issuer), audience=str(audience))
    return JWTAuthenticator(verifier, roles_only=roles_only)


def subject(claims: Claims, max_characters: int = _MAX_SUBJECT_CHARACTERS) -> str:
    """Return the subject of *claims*.

    Raises:
        InvalidCredentialError: It is blank, too long or not printable.
    """
    sub: str = claims["sub"]
    if not sub.isprintable() or is_blank(sub) or len(sub) > max_characters:
        raise InvalidCredentialError("jwt sub")
    return sub


def expiry(claims: Claims, *, principal: str) -> datetime:
    """Return the time until which a JWT of *principal* with these *claims* is valid.

    Raises:
        InvalidCredentialError: It is not in the calendar.
    """
    try:
        # The leeway applies here as it does in PyJWT.
        return datetime.fromtimestamp(int(claims["exp"]) + LEEWAY_SECONDS, UTC)
    except (OverflowError, ValueError, OSError):
        raise InvalidCredentialError("jwt exp", principal=principal) from None


def issued_at(claims: Claims) -> datetime | None:
    """Return the time of issue in *claims*, later by the leeway; None if they have none."""
    issued = claims.get("iat")
    if isinstance(issued, bool) or not isinstance(issued, int | float):
        return None
    try:
        return datetime.fromtimestamp(issued + LEEWAY_SECONDS, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def unverified(credential: str) -> tuple[str, tuple[str, ...]]:
    """Return the issuer and the audiences that *credential* names, before it is verified.

    Raises:
        InvalidCredentialError: It is not a JWT, or names no issuer.
    """
    if len(credential) > _MAX_CHARACTERS:
        raise InvalidCredentialError("jwt DecodeError")
    try:
        # Not by PyJWT, which takes a third of the time of verifying it.
        _, payload, _ = credential.split(".")
        claims = json.loads(base64url_decode(payload))
    except (RecursionError, ValueError):
        raise InvalidCredentialError("jwt DecodeError") from None
    if not isinstance(claims, dict) or not isinstance(issuer := claims.get("iss"), str):
        raise InvalidCredentialError("jwt iss")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    return issuer, tuple(text for text in audiences if isinstance(text, str))


def key_source(jwks_url: str | None, public_key: str | None) -> KeySource:
    """Return the source of the keys at *jwks_url*, or else of *public_key*."""
    return JWKSCache(jwks_url) if jwks_url else fixed_key(str(public_key))


def key_algorithms(pem: str) -> tuple[str, ...]:
    """Return the algorithms that fit the public key *pem*."""
    kinds = _algorithm_kinds(load_pem_public_key(pem.encode()))
    return tuple(name for name in ALGORITHMS if name.startswith(kinds))


def _algorithm_kinds(key: object) -> tuple[str, ...]:
    return next(names for kind, names in _ALGORITHM_KINDS.items() if isinstance(key, kind))


def fixed_key(pem: str) -> KeySource:
    """Return a source of the public key *pem* alone, for every header."""
    key = load_pem_public_key(pem.encode())
    kinds = _algorithm_kinds(key)

    def source(header: dict[str, Any]) -> Any:
        # PyJWT does not handle a key of another type.
        if not header["alg"].startswith(kinds):
            raise jwt.InvalidKeyError
        return key

    return source


class _Client(jwt.PyJWKClient):
    """PyJWT's client with limits: its own reads a reply of any size, however slowly it arrives."""

    def fetch_data(self) -> Any:
        """Return the issuer's reply, decoded; PyJWT checks it. Raises RequestFailedError or ValueError."""
        client = HTTPClient(self.uri, max_bytes=MAX_KEY_SET_BYTES, allows_proxy=True)
        parts = urlsplit(self.uri)
        reply = client.request(
            "GET",
            f"{parts.path or '/'}?{parts.query}".rstrip("?"),
            headers={"Accept": "application/json", "User-Agent": USER_AGENT},
            timeout=FETCH_SECONDS,
        )
        if reply.status != HTTPStatus.OK:
            raise ValueError(f"status {reply.status}")
        keys = json.loads(reply.content)
        # PyJWT's own method does this, too: its pause between fetches for unknown key IDs begins.
        self._last_successful_fetch = monotonic()
        return keys


class JWKSCache:
    """Cache of the issuer's keys by `kid`, fetched from *url* on demand.

    A key set is cached for five minutes; during that time the issuer may be unavailable. An unknown `kid`
    fetches it again, at most every half minute. After a failure there is a pause, so that an issuer that does
    not answer costs one wait per pause, not one per request. Meanwhile, at most `MAX_WAITING` requests wait.
    """

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).hostname
        self._client = _Client(url, lifespan=KEPT_SECONDS)
        self._lock = Lock()
        self._fetching: Thread | None = None
        self._waiting = 0
        self._failed = -float("inf")

    def __call__(self, header: dict[str, Any]) -> Any:
        """Return the key that *header* names.

        Raises:
            PyJWTError: There is no such key.
            CredentialsUnavailableError: The keys are not available now.
        """
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise jwt.InvalidKeyError
        # A cached key does not wait for a fetch in progress.
        return self._kept(kid) or self._fetched(kid)

    def _set(self) -> jwt.PyJWKSet | None:
        # The client's own method holds a lock while it fetches.
        cache = self._client.jwk_set_cache
        return cache.get() if cache else None

    def _kept(self, kid: str) -> jwt.PyJWK | None:
        kept = self._set()
        key = self._client.match_kid(kept.keys, kid) if kept else None
        return key if key and key.public_key_use in (None, "sig") else None

    def _fetched(self, kid: str) -> jwt.PyJWK:
        with self._lock:
            if self._is_backing_off() or self._waiting >= MAX_WAITING:
                raise CredentialsUnavailableError
            if self._fetching is None or not self._fetching.is_alive():
                # In a thread: the client's timeout does not limit the look-up of the name.
                self._fetching = Thread(target=self._fetch, args=(kid,), daemon=True)
                self._fetching.start()
            fetching = self._fetching
            self._waiting += 1
        try:
            fetching.join(FETCH_SECONDS)
        finally:
            with self._lock:
                self._waiting -= 1
        if key := self._kept(kid):
            return key
        if fetching.is_alive():
            self._failed = monotonic()
        if self._is_backing_off():
            raise CredentialsUnavailableError
        # The issuer answered, and has no such key.
        raise jwt.InvalidKeyError

    def _is_backing_off(self) -> bool:
        return monotonic() - self._failed < RETRY_SECONDS

    def _fetch(self, kid: str) -> None:
        try:
            self._client.get_signing_key(kid)
        except Exception as error:  # noqa: BLE001 - the issuer can send anything, and every failure is logged
            if type(error) is PyJWKClientError and self._set():
                return
            # The issuer did not answer, or its answer is not a key set.
            self._failed = monotonic()
            reason = error if isinstance(error, RequestFailedError) else type(error).__name__
            logger.warning("the JWKS endpoint failed: %s: %s", self._host, reason)
