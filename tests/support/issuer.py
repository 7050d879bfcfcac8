"""An identity provider: it publishes keys and signs JWTs, valid and invalid ones."""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.leaks import Marks

ISSUER = "https://issuer.example"
AUDIENCE = "vault"

RSA_KEY = rsa.generate_private_key(65_537, 2_048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
#: Never published.
UNPUBLISHED_KEY = rsa.generate_private_key(65_537, 2_048)

_KEYS: dict[str, tuple[Any, str]] = {
    "rsa-1": (RSA_KEY, "RS256"),
    "ec-1": (EC_KEY, "ES256"),
    "ed-1": (ED_KEY, "EdDSA"),
}
_JWK: dict[type, Any] = {"RS": RSAAlgorithm, "ES": ECAlgorithm, "Ed": OKPAlgorithm}


def public_pem(key: Any = RSA_KEY) -> str:
    """Return the public half of *key* in PEM."""
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def jwk(kid: str, key: Any, algorithm: str) -> dict[str, Any]:
    """Return the public half of *key* as a JWK."""
    return {
        **json.loads(_JWK[algorithm[:2]].to_jwk(key.public_key())),
        "kid": kid,
        "alg": algorithm,
        "use": "sig",
    }


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a valid JWT, with *changes*; None removes a claim."""
    now = int(time.time())
    whole = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "build",
        "exp": now + 600,
        "iat": now,
        "scope": "secret:fetch secret:create",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def sign(kid: str | None = "rsa-1", *, key: Any = None, algorithm: str = "", **changes: Any) -> str:
    """Return a JWT signed by the published key *kid*, or by *key*, with the claims of `claims`."""
    own, usual = _KEYS.get(kid or "", (RSA_KEY, "RS256"))
    headers = {"kid": kid} if kid else {}
    return jwt.encode(claims(**changes), key or own, algorithm=algorithm or usual, headers=headers)


def marked(marks: Marks, **changes: Any) -> str:
    """Return a JWT with *changes* in its claims, and add it to the *marks*."""
    made = sign(jti=secrets.token_hex(12), **changes)
    # Only the unique part: names of algorithms are not secret.
    _, body, signature = made.split(".")
    marks.add("JWT", body[24:])
    marks.add("JWT", signature)
    return made


def unsigned() -> str:
    """Return a JWT that says that it needs no signature."""
    return jwt.encode(claims(), None, algorithm="none", headers={"kid": "rsa-1"})


def signed_with_the_public_key() -> str:
    """Return a JWT whose shared secret is the public key: valid if the JWT may choose the algorithm."""
    head, body = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT", "kid": "rsa-1"}, claims())
    )
    message = head + b"." + body
    signature = hmac.new(public_pem().encode(), message, hashlib.sha256).digest()
    return (message + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


class Issuer:
    """Serves a key set on a loopback port."""

    def __init__(self) -> None:
        self.keys = {kid: jwk(kid, *pair) for kid, pair in _KEYS.items()}
        self.fetches = 0
        #: Replaces the answer with the keys.
        self.body: bytes | None = None
        self.status = 200
        #: Whether it sends bytes endlessly, each in time.
        self.drips = False
        #: While it is cleared, clients wait.
        self.answers = threading.Event()
        self.answers.set()
        issuer = self

        class Keys(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += 1
                issuer.answers.wait(60)
                body = issuer.body
                if body is None:
                    body = json.dumps({"keys": list(issuer.keys.values())}).encode()
                self.send_response(issuer.status)
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                while issuer.drips:
                    self.wfile.write(b" ")
                    time.sleep(0.05)
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """Ignore the error: the client has timed out and disconnected."""

        self._server = Server(("127.0.0.1", 0), Keys)
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"
        self.environment = {"JWT_JWKS_URL": self.url, "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drips = False
        self.answers.set()
        self._server.shutdown()
        self._server.server_close()
