"""The forms of settings, where marshmallow does not know them. No message quotes a value."""

import binascii
import re
import ssl
from base64 import b64decode
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from limits import parse_many
from marshmallow import ValidationError, fields
from pymongo.errors import PyMongoError

from vault.core.networks import Network, network
from vault.core.text import parse_mongodb_uri

#: Of 32 random bytes, about 30 are distinct; 16 or fewer never happens.
_MIN_DISTINCT_BYTES = 5
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{32}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{30}(?:[A-Za-z0-9+/]{2}|[A-Za-z0-9+/]=|==)")


def is_trivial(key: bytes) -> bool:
    """Return whether anyone can guess *key*: it consists of very few distinct bytes."""
    return len(set(key)) < _MIN_DISTINCT_BYTES


def weakness(key: bytes) -> str:
    """Return what makes *key* easier to guess than 32 random bytes; empty if nothing shows."""
    if is_trivial(key):
        return "consists of very few distinct bytes; anyone can guess it"
    if _HEXADECIMAL.fullmatch(key):
        return "is 32 hexadecimal digits taken as the key itself, which is 128 bits at most, not 256"
    if _BASE64.fullmatch(key):
        return "is the base64 of 24 bytes taken as the key itself, which is 192 bits at most, not 256"
    return ""


_KEY_SIZE = 32
#: PyMongo refuses these beside what `vault.documents.database` sets for good.
_CLASHING_OPTIONS = {"readpreferencetags", "maxstalenessseconds", "fsync"}
#: The storage of rate limits that each worker has for itself.
MEMORY = "memory://"
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_MIN_RSA_BITS = 2_048
_IN_A_LIST = (
    "Keys are separated by commas. Write a key of 32 characters that holds a comma, or that begins or ends "
    "with a space, as the base64 of these characters."
)


def _key(text: str) -> bytes:
    """Return the key that *text* holds: 32 raw characters, or the base64 of 32 bytes."""
    try:
        key = text.encode("ascii") if len(text) == _KEY_SIZE else b64decode(text, validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_SIZE:
        raise ValidationError(f"must be the base64 of {_KEY_SIZE} bytes, or exactly {_KEY_SIZE} characters.")
    return key


class Key(fields.Field[bytes]):
    """A master key."""

    def _deserialize(self, value: str, *_: object, **__: object) -> bytes:
        return _key(value)


class Keys(fields.Field[tuple[bytes, ...]]):
    """Master keys, separated by commas.

    A list of several keys is longer than 32 characters: a value of exactly 32 is one key, commas and all.
    """

    def _deserialize(self, value: str, *_: object, **__: object) -> tuple[bytes, ...]:
        if len(value) == _KEY_SIZE:
            return (_key(value),)
        try:
            return tuple(_key(part.strip()) for part in value.split(","))
        except ValidationError as error:
            raise ValidationError(f"each {error.messages[0]} {_IN_A_LIST}") from None


def primary_key(key: bytes) -> None:
    """Refuse a primary master key that anyone can guess."""
    if is_trivial(key):
        raise ValidationError(
            "is too easy to guess: it consists of very few distinct bytes. Make a new one with: "
            "secret-manager keys generate. If secrets are stored under this key, set the new key as "
            "MASTER_KEY and this one as MASTER_KEY_FALLBACKS, start the service, and run: "
            "secret-manager keys rewrap"
        )


class Word(fields.String):
    """A word in any case."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> str:
        return super()._deserialize(*args, **kwargs).lower()


class Networks(fields.Field[tuple[Network, ...]]):
    """Networks, separated by commas."""

    def _deserialize(self, value: str, *_: object, **__: object) -> tuple[Network, ...]:
        try:
            return tuple(network(part.strip()) for part in value.split(","))
        except ValueError:
            raise ValidationError("must be networks such as 10.0.0.0/8, separated by commas.") from None


def mongo_uri(uri: str) -> None:
    """Refuse what is no connection string of MongoDB that can work here."""
    try:
        parts = parse_mongodb_uri(uri)
    except (PyMongoError, ValueError, OSError):
        raise ValidationError(
            "must be mongodb://…, with options that PyMongo knows and files that are there."
        ) from None
    if parts.collection:
        raise ValidationError("must not name a collection.")
    if clashing := _CLASHING_OPTIONS & {option.lower() for option in parts.options}:
        names = ", ".join(sorted(clashing))
        raise ValidationError(f"must not set {names}: reads go to the primary, writes to the journal.")


def bind(text: str) -> None:
    """Refuse what is no address and port."""
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):([0-9]{1,5})", text)
    if not match or not 0 < int(match[1]) < 65_536:
        raise ValidationError("must be ADDRESS:PORT, an IPv6 address in brackets.")


def port(address: str) -> str:
    """Return the port of what `bind` takes."""
    return address.rpartition(":")[2]


def is_loopback(address: str) -> bool:
    """Return whether what `bind` takes can be reached from this machine only."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def jwks_url(url: str) -> None:
    """Refuse what is no address at which keys can be had that are certain to be the issuer's."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)):
        raise ValidationError("must be https://…; http only on this machine.")


def public_key(pem: str) -> None:
    """Refuse what is no public key that can verify a JWT."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    strong = isinstance(key, RSAPublicKey) and key.key_size >= _MIN_RSA_BITS
    curve = key.curve if isinstance(key, EllipticCurvePublicKey) else None
    usable = isinstance(curve, SECP256R1 | SECP384R1 | SECP521R1)
    if not (strong or usable or isinstance(key, Ed25519PublicKey)):
        raise ValidationError(
            f"must be a public key in PEM: RSA of {_MIN_RSA_BITS} bits or more, EC or Ed25519."
        )


def rate_limit(text: str) -> None:
    """Refuse what is no limit in the notation of the library `limits`."""
    try:
        parse_many(text)
    except ValueError:
        raise ValidationError("must be limits such as 100/minute or 10/second;1000/hour.") from None


def rate_limit_storage(uri: str) -> None:
    """Refuse what is neither a worker's own memory nor a MongoDB."""
    if uri != MEMORY:
        try:
            mongo_uri(uri)
        except ValidationError:
            raise ValidationError(f"must be {MEMORY} or the connection string of a MongoDB.") from None


def audit_sink(uri: str) -> None:
    """Refuse a URI that names neither a file in a folder that exists nor a syslog server."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc or "\0" in unquote(parts.path))
    if parts.scheme in ("file", "unix"):
        path = Path(unquote(parts.path))
        is_good = not parts.netloc and bool(path.name) and path.is_absolute() and path.parent.is_dir()
    else:
        is_syslog = parts.scheme in ("syslog", "syslog+tcp") and bool(parts.hostname)
        is_good = is_syslog and port != 0 and parts.path in ("", "/")
    if not (is_plain and is_good):
        raise ValidationError(
            "must be file:///PATH or unix:///PATH in a folder that exists, syslog://HOST:PORT or "
            "syslog+tcp://HOST:PORT."
        )


def jwt(values: Mapping[str, str]) -> None:
    """Refuse settings of JWTs that make no sense together."""
    source = "JWT_JWKS_URL or JWT_PUBLIC_KEY"
    sources = [name for name in ("JWT_JWKS_URL", "JWT_PUBLIC_KEY") if name in values]
    if len(sources) > 1:
        raise ValidationError({"JWT_JWKS_URL": [f"set {source}, not both."]})
    for name in ("JWT_ISSUER", "JWT_AUDIENCE"):
        if sources and name not in values:
            raise ValidationError({name: [f"required with {sources[0]}."]})
        if name in values and not sources:
            raise ValidationError({name: [f"needs {source}."]})


def tls(values: Mapping[str, str]) -> None:
    """Refuse settings of TLS that make no sense together, and files that cannot be served with."""
    certificate, key, authority = (values.get(name) for name in ("TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA"))
    if not certificate or not key:
        for name in {"TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA"} & values.keys():
            raise ValidationError({name: ["TLS needs both TLS_CERT and TLS_KEY."]})
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # The password is there so that nobody is asked for one.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError):
        reason = "TLS_CERT and TLS_KEY must name files, in PEM and without a password, that belong together."
        raise ValidationError({"TLS_CERT": [reason], "TLS_KEY": [reason]}) from None
    try:
        if authority:
            context.load_verify_locations(authority)
    except (OSError, ValueError):
        raise ValidationError({"TLS_CLIENT_CA": ["must name a file of certificates in PEM."]}) from None
