"""Use rules: where the value of a secret may go, and in which header."""

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any, Self

from vault.common.strict_json import InvalidJSONError, TooManyPartsError, decode
from vault.common.text import is_one_line
from vault.core.documents.base import is_text
from vault.core.secrets.use_rules import MIN_BYTES
from vault.features.broker.errors import UnusableValueError

#: The maximum number of rules of a secret, and the bytes of all of them as JSON.
MAX_RULES, MAX_RULES_BYTES = 8, 16_384
MAX_HOSTS, MAX_PATHS = 16, 64

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

#: The maximum characters of a host, with its port.
MAX_HOST_CHARACTERS = 259
_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_HOST = re.compile(rf"({_NAME}|\[::1\])(?::([1-9][0-9]{{0,4}}))?")
#: In either case: hosts are lower-cased.
HOST_PATTERN = r"^(?:[A-Za-z0-9.-]+|\[::1\])(?::[1-9][0-9]{0,4})?$"
_MAX_NAME_CHARACTERS, _MAX_PORT = 253, 65_535
_HTTPS = ":443"
#: The last label of an address, in any of its forms.
_NUMBER = re.compile("[0-9]+|0x[0-9a-f]*")

#: The maximum characters of a path: the trail has it.
MAX_PATH_CHARACTERS = 2_048
PATH_PATTERN = r"^/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*$"
_ESCAPE = re.compile("%(..)")
#: Characters that servers read as others than the rule says.
_SLASH, _BACKSLASH, _NUL = 0x2F, 0x5C, 0x00
_PLAIN = re.compile("[A-Za-z0-9._~-]")

MAX_HEADER_CHARACTERS = 64
HEADER_PATTERN = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
#: Those of one connection, and those by which a broker finds the server or the end of a request.
_REFUSED_HEADERS = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"),
        *("te", "trailer", "transfer-encoding", "upgrade", "host", "content-length", "cookie"),
    }
)

MAX_FORMAT_CHARACTERS = 256
#: ASCII, with braces only around the name of a field.
FORMAT_PATTERN = r"^[ -z|~]*\{[ -z|~]*\}[ -z|~]*$"
_FORMAT = re.compile(r"([ -z|~]*)\{([ -z|~]*)\}([ -z|~]*)")

MAX_USER_CHARACTERS = 128

_AUTHORIZATION = "Authorization"
#: Control characters, and halves of surrogate pairs, which JSON can have.
_NO_HEADER = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Target:
    """A request for which a value is used."""

    host: str
    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Credential:
    """A header with a value, and what must not come back of it."""

    header: str
    value: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class UseRule:
    """A use rule. It has a header and its format, or a user for basic authentication."""

    hosts: tuple[str, ...]
    methods: tuple[str, ...]
    #: Exact ones, and prefixes that end in a slash.
    paths: tuple[str, ...]
    header: str = _AUTHORIZATION
    format: str = ""
    basic: str | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """Return a rule that the service has *stored*."""
        given = {name: stored[name] for name in ("header", "format", "basic") if name in stored}
        return cls(tuple(stored["hosts"]), tuple(stored["methods"]), tuple(stored["paths"]), **given)

    def length(self, target: Target) -> int:
        """Return the length of the longest of its paths that includes *target*; 0 without one."""
        if target.host not in self.hosts or target.method not in self.methods:
            return 0
        return max((len(path) for path in self.paths if _includes(path, target.path)), default=0)

    def credential(self, plaintext: bytes) -> Credential:
        """Return the header for the value *plaintext*.

        Raises:
            UnusableValueError: No header can have it, or it is too short to be removed from a reply.
        """
        text = _text(plaintext)
        if self.basic is not None:
            secret = _usable(text)
            pair = f"{self.basic}:{secret}".encode()
            return Credential(self.header, f"Basic {b64encode(pair).decode()}", secret)
        before, name, after = _parts(self.format)
        secret = _usable(_field(plaintext, name) if name else text)
        return Credential(self.header, f"{before}{secret}{after}", secret)


def are_rules(value: object) -> bool:
    """Return whether *value*, as read from MongoDB, has the form of rules; anyone may have stored another."""
    return isinstance(value, list) and all(map(_is_rule, value))


def _is_rule(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    lists = [value.get(name) for name in ("hosts", "methods", "paths")]
    others = [value[name] for name in ("header", "format", "basic") if name in value]
    are_lists = all(isinstance(one, list) and all(map(is_text, one)) for one in lists)
    return are_lists and all(map(is_text, others))


def best(rules: Sequence[Mapping[str, Any]], target: Target) -> tuple[int, UseRule | None]:
    """Return the first of the stored *rules* with the longest path that includes *target*, and its length."""
    found: tuple[int, UseRule | None] = 0, None
    for rule in map(UseRule.of, rules):
        length = rule.length(target)
        if length > found[0]:
            found = length, rule
    return found


def _includes(path: str, asked: str) -> bool:
    return asked == path or (path.endswith("/") and asked.startswith(path))


def _parts(text: str) -> tuple[str, str, str]:
    """Return the text before the braces of a format, in them and after them."""
    before, _, rest = text.partition("{")
    name, _, after = rest.partition("}")
    return before, name, after


def _text(plaintext: bytes) -> str:
    try:
        return plaintext.decode()
    except UnicodeDecodeError:
        raise UnusableValueError("The value is not text in UTF-8.") from None


def _field(plaintext: bytes, name: str) -> str:
    try:
        value = decode(plaintext)
    except (InvalidJSONError, TooManyPartsError):
        value = None
    text = value.get(name) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise UnusableValueError("The value is not a JSON object with a text under the name in its use rule.")
    return text


def _usable(text: str) -> str:
    if _NO_HEADER.search(text):
        raise UnusableValueError("The value has a line break, NUL or another control character.")
    if len(text.encode()) < MIN_BYTES:
        raise UnusableValueError(f"The value has under {MIN_BYTES} bytes.")
    return text


def plain_host(text: str) -> str:
    """Return *text*, a host, in lower case, and without the port of HTTPS."""
    return text.lower().removesuffix(_HTTPS)


def host_flaw(text: str) -> str:
    """Return the rule that *text* breaks as a host, which can have a port; empty if it breaks none."""
    found = _HOST.fullmatch(text.lower())
    if found is None:
        return "must be a host name such as api.example.com, or api.example.com:8443"
    name, port = found.groups()
    if len(name) > _MAX_NAME_CHARACTERS or int(port or 1) > _MAX_PORT:
        return "must have a name of at most 253 characters, and a port of at most 65535"
    if _NUMBER.fullmatch(name.rpartition(".")[2]) and not _is_loopback(name):
        return "must not be an address, except of this machine"
    return ""


def _is_loopback(name: str) -> bool:
    try:
        return IPv4Address(name).is_loopback
    except ValueError:
        return False


def path_flaw(text: str) -> str:
    """Return the rule that *text* breaks as a path, without the text; empty if it breaks none.

    Servers must not read it as another path.
    """
    if not re.fullmatch(PATH_PATTERN, text):
        return "must be the path of a URL, without a query, from its first slash on"
    if text.startswith("//") or any(part.partition(";")[0] in (".", "..") for part in text.split("/")):
        return "must not begin with two slashes, or have a part . or .."
    if any(_is_refused(int(digits, 16)) for digits in _ESCAPE.findall(text)):
        return "must not have an escaped slash, backslash, NUL or plain character"
    return ""


def _is_refused(code: int) -> bool:
    return code in (_SLASH, _BACKSLASH, _NUL) or _PLAIN.fullmatch(chr(code)) is not None


def header_flaw(text: str) -> str:
    """Return the rule that *text* breaks as the name of a header; empty if it breaks none."""
    if not re.fullmatch(HEADER_PATTERN, text):
        return "must be the name of a header"
    # Some servers read an underscore as a hyphen.
    if text.lower().replace("_", "-") in _REFUSED_HEADERS:
        return "must be a header that is not of a connection, Host, Content-Length or Cookie"
    return ""


def format_flaw(text: str) -> str:
    """Return the rule that *text* breaks as the format of a header; empty if it breaks none."""
    if _FORMAT.fullmatch(text) and text == text.strip():
        return ""
    return "must be ASCII with {}, or the name of a field in braces, once, and no space at an end"


def user_flaw(text: str) -> str:
    """Return the rule that *text* breaks as the user of basic authentication; empty if it breaks none."""
    return "" if ":" not in text and is_one_line(text) else "must be one line without a colon"
