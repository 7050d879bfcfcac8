"""JSON Web Tokens as credentials. PyJWT does the work; here is only what is asked of a token."""

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

#: Asymmetric ones only: with a shared secret, whoever verifies could also sign.
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)

#: Seconds that clocks may differ.
LEEWAY_SECONDS = 30

#: Seconds that fetching the key set may take, for how long it is left alone if that failed, and kept if not.
FETCH_SECONDS = 3
RETRY_SECONDS = 10
KEPT_SECONDS = 300

#: How the algorithms of each kind of key begin.
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
    """Stands in where no JWTs are taken: none is good."""

    def principal(self, _credential: str) -> Principal:
        """Refuse the credential."""
        raise InvalidCredentialError("malformed")


class JWTAuthenticator:
    """JWTs of one issuer for one audience, with *key* to verify them."""

    def __init__(self, key: KeySource, *, issuer: str, audience: str) -> None:
        self._key = key
        self._issuer = issuer
        self._audience = audience

    def principal(self, credential: str) -> Principal:
        """Return the subject of *credential*, with what the claims `scope` and `namespace` say.

        Raises:
            InvalidCredentialError: It is not a good JWT of the issuer for the audience.
            CredentialsUnavailableError: The issuer's keys cannot be had now.
        """
        try:
            claims = self._claims(credential)
        except (PyJWTError, TypeError, ValueError) as error:
            raise InvalidCredentialError(f"jwt {type(error).__name__}") from None
        subject = claims["sub"]
        if not (subject.isprintable() and 0 < len(subject) <= _MAX_SUBJECT_CHARACTERS):
            raise InvalidCredentialError("jwt sub")
        # No token's name has a colon.
        name = f"jwt:{subject}"
        namespace, scope = claims.get("namespace", DEFAULT_NAMESPACE), claims.get("scope", "")
        if not (isinstance(namespace, str) and is_name(namespace)):
            raise InvalidCredentialError("jwt namespace", principal=name)
        if not isinstance(scope, str):
            raise InvalidCredentialError("jwt scope", principal=name)
        try:
            # Within the leeway it still counts, here as there.
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
        # Before a key is looked for: what no key could verify is no reason to ask the issuer.
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
    """Return the source of the one public key *pem*, whatever key a header names."""
    key = load_pem_public_key(pem.encode())
    kinds = next(names for kind, names in _ALGORITHM_KINDS.items() if isinstance(key, kind))

    def source(header: dict[str, Any]) -> Any:
        # PyJWT does not expect a key of another kind.
        if not header["alg"].startswith(kinds):
            raise jwt.InvalidKeyError
        return key

    return source


class JWKSCache:
    """The issuer's keys by their `kid`, fetched from *url* when they are needed.

    A set is kept for five minutes, and for as long an issuer that is away does not matter. For an unknown
    `kid` it is fetched again, at most every half minute. After a failure nothing is fetched for a while, so
    that an issuer that does not answer costs the service a wait every now and then, and not one a request.
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
            CredentialsUnavailableError: The keys cannot be had now.
        """
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise jwt.InvalidKeyError
        # What is known already waits for nobody's fetch.
        return self._kept(kid) or self._fetched(kid)

    def _set(self) -> jwt.PyJWKSet | None:
        # The client gives no access to it but by a call that holds its lock while it fetches.
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
                # In a thread, as the client's time-out bounds each wait for bytes and not their sum.
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
        # It answered, and has no such key.
        raise jwt.InvalidKeyError

    def _rests(self) -> bool:
        return monotonic() - self._failed < RETRY_SECONDS

    def _fetch(self, kid: str) -> None:
        try:
            self._client.get_signing_key(kid)
        except Exception as error:  # noqa: BLE001 - whatever the issuer sent must not end in silence
            if type(error) is PyJWKClientError and self._set():
                return
            # It did not answer, or what came is no set of keys.
            self._failed = monotonic()
            logger.warning("the JWKS endpoint failed: %s", type(error).__name__)
