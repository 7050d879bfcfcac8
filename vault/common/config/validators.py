"""Validators and fields for settings, in addition to marshmallow's own. No message quotes a value."""

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from marshmallow import ValidationError, fields

from vault.common import feature
from vault.common.networks import Network, network
from vault.common.networks import is_loopback as is_loopback_host

_KEY_SIZE = 32
_NO_KEY = "is required: the key of this database, or for a new one that of `secret-manager keys generate`."
#: Random keys pass with certainty: of 32 random bytes, about 30 are distinct, and practically always over 16.
_MIN_DISTINCT_BYTES = 5
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{32}")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{30}(?:[A-Za-z0-9+/]{2}|[A-Za-z0-9+/]=|==)")
_KEY_LIST_HINT = (
    "Keys are separated by commas. If a key of 32 characters contains a comma, or begins or ends with a "
    "space, write it as the base64 of these characters."
)
#: Options that PyMongo refuses together with those that `vault.core.documents.database` always sets.
_CLASHING_OPTIONS = {"readpreferencetags", "maxstalenessseconds", "fsync"}
#: In each message about a file that is not there.
MISSING = "that does not exist."
#: The storage of rate limits that each worker has for itself.
MEMORY = "memory://"
_UNESCAPED = "must have user and password percent-encoded (%40 for @, %2F for /), and numbers as ports."
_REFUSED_URI = "must be mongodb://…, without an option, a value or another part that PyMongo does not know."
_MIN_RSA_BITS = 2_048
#: In `CORS_ORIGINS`: the pages of every origin.
ANY_ORIGIN = "*"
_HOST_NAME = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*")
_ORIGIN = re.compile(r"(https?)://(\[[0-9a-f:.]+\]|[a-z0-9]+(?:[._-]+[a-z0-9]+)*)(?::([1-9][0-9]{0,4}))?")


class Key(fields.Field[bytes]):
    """A master key."""

    def _deserialize(self, value: str, *_: object, **__: object) -> bytes:
        return _key(value)


class Keys(fields.Field[tuple[bytes, ...]]):
    """Master keys, separated by commas.

    A list of several keys is longer than 32 characters: a value of exactly 32 is one key, even with commas.
    """

    def _deserialize(self, value: str, *_: object, **__: object) -> tuple[bytes, ...]:
        if len(value) == _KEY_SIZE:
            return (_key(value),)
        try:
            return tuple(_key(part.strip()) for part in value.split(","))
        except ValidationError as error:
            raise ValidationError(f"each {error.messages[0]} {_KEY_LIST_HINT}") from None


def _key(text: str) -> bytes:
    """Return the key that *text* contains: 32 raw characters, or the base64 of 32 bytes."""
    try:
        key = text.encode("ascii") if len(text) == _KEY_SIZE else b64decode(text, validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_SIZE:
        raise ValidationError(f"must be the base64 of {_KEY_SIZE} bytes, or exactly {_KEY_SIZE} characters.")
    return key


def keys(values: Mapping[str, str]) -> None:
    """Refuse settings without a key, and with two sources of keys."""
    sources = [opener.setting for opener in feature.openers() if opener.setting in values]
    if not sources and "MASTER_KEY" not in values:
        raise ValidationError({"MASTER_KEY": [_NO_KEY]})
    names = [name for name in ("MASTER_KEY", "MASTER_KEY_FALLBACKS") if sources and name in values]
    if names:
        raise ValidationError({name: [f"cannot be set together with {sources[0]}."] for name in names})


def primary_key(key: bytes) -> None:
    """Refuse a primary master key that anyone can guess."""
    if is_trivial(key):
        raise ValidationError(
            "is too easy to guess: it consists of very few distinct bytes. Generate a new key with "
            "`secret-manager keys generate`. If secrets are stored under this key, set the new key as "
            "MASTER_KEY and this one as MASTER_KEY_FALLBACKS, start the service, and run "
            "`secret-manager keys rewrap`."
        )


def is_trivial(key: bytes) -> bool:
    """Return whether anyone can guess *key*, because it consists of very few distinct bytes."""
    return len(set(key)) < _MIN_DISTINCT_BYTES


def weakness(key: bytes) -> str:
    """Return the reason why *key* is easier to guess than 32 random bytes; empty if none is visible."""
    if is_trivial(key):
        return "consists of very few distinct bytes; anyone can guess it"
    if _HEXADECIMAL.fullmatch(key):
        return "is 32 hexadecimal digits used as the key itself, so it has at most 128 bits, not 256"
    if _BASE64.fullmatch(key):
        return "is the base64 of 24 bytes used as the key itself, so it has at most 192 bits, not 256"
    return ""


class Word(fields.String):
    """A case-insensitive word."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> str:
        return super()._deserialize(*args, **kwargs).lower()


class Networks(fields.Field[tuple[Network, ...]]):
    """Networks, separated by commas."""

    def _deserialize(self, value: str, *_: object, **__: object) -> tuple[Network, ...]:
        try:
            return tuple(network(part.strip()) for part in value.split(","))
        except ValueError:
            raise ValidationError("must be networks such as 10.0.0.0/8, separated by commas.") from None


class Programs(fields.Field[tuple[str, ...]]):
    """Absolute paths of programs, separated by commas."""

    def _deserialize(self, value: str, *_: object, **__: object) -> tuple[str, ...]:
        programs = tuple(part.strip() for part in value.split(","))
        if not all(program.startswith("/") for program in programs):
            raise ValidationError("must be absolute paths of programs, separated by commas.")
        return programs


class Features(fields.Field[tuple[str, ...]]):
    """Names of features, separated by commas."""

    def _deserialize(self, value: str, *_: object, **__: object) -> tuple[str, ...]:
        names = tuple(part.strip() for part in value.split(","))
        known = [one.name for one in feature.features()]
        if not set(known).issuperset(names):
            names_of_all = ", ".join(known)
            raise ValidationError(f"must be names of features, separated by commas. All are: {names_of_all}.")
        return names


class Hosts(fields.Field[tuple[str, ...]]):
    """Host names and addresses, without ports, separated by commas."""

    def _deserialize(self, value: str, *_: object, **__: object) -> tuple[str, ...]:
        hosts = tuple(part.strip().lower() for part in value.split(","))
        if not all(map(_is_host, hosts)):
            raise ValidationError(
                "must be host names or addresses such as vault.example.com, 127.0.0.1 or [::1], separated by "
                "commas, without ports."
            )
        return hosts


def _is_host(text: str) -> bool:
    if text.startswith("["):
        return text.endswith("]") and _is_ipv6(text[1:-1])
    return bool(_HOST_NAME.fullmatch(text))


class Origins(fields.Field[tuple[str, ...]]):
    """Origins of web pages, separated by commas, or `*` for all."""

    def _deserialize(self, value: str, *_: object, **__: object) -> tuple[str, ...]:
        origins = tuple(part.strip() for part in value.split(","))
        if origins != (ANY_ORIGIN,) and not all(map(_is_origin, origins)):
            raise ValidationError(
                "must be origins such as https://app.example.com, separated by commas, or * alone. Write "
                "them as browsers send them: in lower case, without a path and without the default port."
            )
        return origins


def _is_origin(text: str) -> bool:
    match = _ORIGIN.fullmatch(text)
    if not match:
        return False
    scheme, host, number = match.groups()
    is_address = not host.startswith("[") or _is_ipv6(host.strip("[]"))
    default = {"http": 80, "https": 443}[scheme]
    return is_address and (number is None or (0 < int(number) < 65_536 and int(number) != default))


def _is_ipv6(text: str) -> bool:
    try:
        return ip_address(text).compressed == text
    except ValueError:
        return False


def mongo_uri(uri: str) -> None:
    """Refuse a connection string of MongoDB that cannot work here."""
    # Not loaded by a health check: PyMongo takes half of its start.
    from pymongo.errors import PyMongoError

    from vault.common.mongodb_uri import parse_mongodb_uri

    try:
        parts = parse_mongodb_uri(uri)
    except FileNotFoundError:
        raise ValidationError(f"names a file {MISSING}") from None
    except OSError:
        raise ValidationError("names a file that cannot be used.") from None
    except (PyMongoError, ValueError) as error:
        # Other texts can quote values. A colon in a password begins a port, it seems.
        is_unescaped = "must be escaped" in str(error)
        raise ValidationError(_UNESCAPED if is_unescaped else _REFUSED_URI) from None
    if parts.collection:
        raise ValidationError("must not name a collection.")
    if clashing := _CLASHING_OPTIONS & {option.lower() for option in parts.options}:
        names = ", ".join(sorted(clashing))
        raise ValidationError(
            f"must not set {names}: the service reads from the primary and writes journaled."
        )


def bind(text: str) -> None:
    """Refuse a text that is not an address and a port."""
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):([0-9]{1,5})", text)
    if not match or not 0 < int(match[1]) < 65_536:
        raise ValidationError("must be ADDRESS:PORT, with brackets around an IPv6 address.")


def port(address: str) -> str:
    """Return the port of an address that `bind` accepts."""
    return address.rpartition(":")[2]


def is_loopback(address: str) -> bool:
    """Return whether an address that `bind` accepts can only be reached from this machine."""
    return is_loopback_host(address.rpartition(":")[0].strip("[]"))


_VISIBLE = re.compile("[!-~]+")


def jwks_url(url: str) -> None:
    """Refuse a URL from which keys cannot be fetched with certainty that they are the issuer's."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if _VISIBLE.fullmatch(url) and parts.port != 0 else None
    except ValueError:
        host = None
    # Percent signs, also before a zone, are in no certificate, and no client takes all of them.
    is_host = host and "%" not in host
    if not is_host or not (parts.scheme == "https" or (parts.scheme == "http" and is_loopback_host(host))):
        raise ValidationError("must be https://…, or http://… on this machine.")


def public_url(url: str) -> None:
    """Refuse a URL as `jwks_url` does, and one with a user name, as it is shown and recorded."""
    jwks_url(url)
    if urlsplit(url).username is not None:
        raise ValidationError("must not have a user name or a password.")


def own_url(url: str) -> None:
    """Refuse a URL as `public_url` does, and one with a query or a fragment: paths are appended to it."""
    public_url(url)
    if not {"?", "#"}.isdisjoint(url):
        raise ValidationError("must not have a query or a fragment.")


def credential(text: str) -> None:
    """Refuse a text that cannot be in a header."""
    if not _VISIBLE.fullmatch(text):
        raise ValidationError("must have visible ASCII characters only.")


def public_key(pem: str) -> None:
    """Refuse a text that is not a public key for JWTs."""
    # As PyMongo in `mongo_uri`.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    strong = isinstance(key, RSAPublicKey) and key.key_size >= _MIN_RSA_BITS
    curve = key.curve if isinstance(key, ec.EllipticCurvePublicKey) else None
    usable = isinstance(curve, ec.SECP256R1 | ec.SECP384R1 | ec.SECP521R1)
    if not (strong or usable or isinstance(key, Ed25519PublicKey)):
        raise ValidationError(
            f"must be a public key in PEM: RSA of {_MIN_RSA_BITS} bits or more, EC or Ed25519."
        )


def rate_limit(text: str) -> None:
    """Refuse a text that is not in the notation of the library `limits`."""
    # Not loaded by commands: it takes a fifth of their start, and its default is valid.
    from limits import parse_many

    try:
        parse_many(text)
    except ValueError:
        raise ValidationError("must be limits such as 100/minute or 10/second;1000/hour.") from None


def rate_limit_storage(uri: str) -> None:
    """Refuse a URI that is neither a worker's own memory nor a MongoDB."""
    if uri != MEMORY:
        try:
            mongo_uri(uri)
        except ValidationError:
            raise ValidationError(f"must be {MEMORY} or the connection string of a MongoDB.") from None


def audit_sink(uri: str) -> None:
    """Refuse a URI that names neither a file in an existing folder nor a syslog server."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    is_plain = not (parts.query or parts.fragment or "@" in parts.netloc or "\0" in unquote(parts.path))
    if parts.scheme in ("file", "unix"):
        path = Path(unquote(parts.path))
        is_good = not parts.netloc and bool(path.name) and path.is_absolute()
    else:
        is_syslog = parts.scheme in ("syslog", "syslog+tcp") and bool(parts.hostname)
        is_good = is_syslog and port != 0 and parts.path in ("", "/")
    if not (is_plain and is_good):
        raise ValidationError(
            "must be file:///PATH or unix:///PATH, syslog://HOST:PORT or syslog+tcp://HOST:PORT."
        )
    if parts.path and not Path(unquote(parts.path)).parent.is_dir():
        raise ValidationError(f"names a file in a folder {MISSING}")
