"""JSON Web Tokens as credentials. PyJWT verifies them; this module has the requirements and the keys."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock, Thread
from time import monotonic
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.exceptions import PyJWKClientError, PyJWTError

from vault.core.errors import CredentialsUnavailableError, InvalidCredentialError
from vault.core.principal import DEFAULT_NAMESPACE, Principal, is_name, scopes_named

logger = logging.getLogger(__name__)

#: Asymmetric algorithms only: with a shared secret, anyone who verifies can also sign.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)

#: Maximum difference between the clocks of issuer and service.
LEEWAY_SECONDS = 30

#: Timeout of fetching the key set, pause after a failure, and lifetime of a fetched set.
FETCH_SECONDS = 3
RETRY_SECONDS = 10
KEPT_SECONDS = 300

#: The first characters of the algorithms for each type of key.
_ALGORITHM_KINDS: dict[type, tuple[str, ...]] = {
    RSAPublicKey: ("RS", "PS"),
    EllipticCurvePublicKey: ("ES",),
    Ed25519PublicKey: ("EdDSA",),
}

_MAX_SUBJECT_CHARACTERS = 128
_MAX_CHARACTERS = 8_192
_REQUIRED = ["exp", "iss", "aud", "sub"]

#: Returns the key that a token's header names.
KeySource = Callable[[dict[str, Any]], Any]


class NoJWTAuthenticator:
    """Refuses every JWT, for a service without JWT settings."""

    def principal(self, _credential: str) -> Principal:
        """Refuse the credential."""
        raise InvalidCredentialError("malformed")


class JWTAuthenticator:
    """Authenticates JWTs of one issuer for one audience with the keys from *key*."""

    def __init__(self, key: KeySource, *, issuer: str, audience: str) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience

    def principal(self, credential: str) -> Principal:
        """Return the subject of *credential*, with the scopes and the namespace of its claims.

        Raises:
            InvalidCredentialError: It is not a valid JWT of the issuer for the audience.
            CredentialsUnavailableError: The issuer's keys are not available now.
        """
        try:
            claims = self._claims(credential)
        except (PyJWTError, TypeError, ValueError) as error:
            raise InvalidCredentialError(f"jwt {type(error).__name__}") from None
        subject = claims["sub"]
        if not (subject.isprintable() and 0 < len(subject) <= _MAX_SUBJECT_CHARACTERS):
            raise InvalidCredentialError("jwt sub")
        # Token names have no colon, so no JWT can pass for a token.
        name = f"jwt:{subject}"
        namespace, scope = claims.get("namespace", DEFAULT_NAMESPACE), claims.get("scope", "")
        if not (isinstance(namespace, str) and is_name(namespace)):
            raise InvalidCredentialError("jwt namespace", principal=name)
        if not isinstance(scope, str):
            raise InvalidCredentialError("jwt scope", principal=name)
        try:
            # The leeway applies here as it does in PyJWT.
            expires_at = datetime.fromtimestamp(int(claims["exp"]) + LEEWAY_SECONDS, UTC)
        except (OverflowError, ValueError, OSError):
            raise InvalidCredentialError("jwt exp", principal=name) from None
        return Principal(
            name=name, namespace=namespace, scopes=scopes_named(scope.split(" ")), expires_at=expires_at
        )

    def _claims(self, credential: str) -> dict[str, Any]:
        if len(credential) > _MAX_CHARACTERS:
            raise jwt.DecodeError
        header = jwt.get_unverified_header(credential)
        # Before the key is looked up: the issuer is not asked for what no key can verify.
        if header.get("alg") not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError
        claims: dict[str, Any] = jwt.decode(
            credential,
            self._key(header),
            algorithms=ALGORITHMS,
            issuer=self._issuer,
            audience=self._audience,
            leeway=LEEWAY_SECONDS,
            options={"require": _REQUIRED, "enforce_minimum_key_length": True},
        )
        return claims


def fixed_key(pem: str) -> KeySource:
    """Return a source of the public key *pem* alone, for every header."""
    key = load_pem_public_key(pem.encode())
    kinds = next(names for kind, names in _ALGORITHM_KINDS.items() if isinstance(key, kind))

    def source(header: dict[str, Any]) -> Any:
        # PyJWT does not handle a key of another type.
        if not header["alg"].startswith(kinds):
            raise jwt.InvalidKeyError
        return key

    return source


class JWKSCache:
    """Cache of the issuer's keys by `kid`, fetched from *url* on demand.

    A key set is cached for five minutes; during that time the issuer may be unavailable. An unknown `kid`
    fetches it again, at most every half minute. After a failure there is a pause, so that an issuer that does
    not answer costs one wait per pause, not one per request.
    """

    def __init__(self, url: str) -> None:
        self._client = jwt.PyJWKClient(url, timeout=FETCH_SECONDS, lifespan=KEPT_SECONDS)
        self._lock = Lock()
        self._fetching: Thread | None = None
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
            if self._rests():
                raise CredentialsUnavailableError
            if self._fetching is None or not self._fetching.is_alive():
                # In a thread: the client's timeout limits each wait for bytes, not their sum.
                self._fetching = Thread(target=self._fetch, args=(kid,), daemon=True)
                self._fetching.start()
            fetching = self._fetching
        fetching.join(FETCH_SECONDS)
        if key := self._kept(kid):
            return key
        if fetching.is_alive():
            self._failed = monotonic()
        if self._rests():
            raise CredentialsUnavailableError
        # The issuer answered, and has no such key.
        raise jwt.InvalidKeyError

    def _rests(self) -> bool:
        return monotonic() - self._failed < RETRY_SECONDS

    def _fetch(self, kid: str) -> None:
        try:
            self._client.get_signing_key(kid)
        except Exception as error:  # noqa: BLE001 - the issuer can send anything, and every failure is logged
            if type(error) is PyJWKClientError and self._set():
                return
            # The issuer did not answer, or its answer is not a key set.
            self._failed = monotonic()
            logger.warning("the JWKS endpoint failed: %s", type(error).__name__)
