"""Where a request goes: hosts and paths, in the one spelling that no server reads as another."""

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

from vault.clients.broker.problems import RefusedError
from vault.common.networks import is_loopback

_HTTPS, _HTTP = 443, 80
_MAX_PORT = 65_535
_MAX_HOST = 253

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_AUTHORITY = re.compile(rf"({_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]{{2,45}}\])(?::([1-9][0-9]{{0,4}}))?")
_URL = re.compile(r"http://([^/?#]+)(/[^#]*)", re.IGNORECASE)

#: A path as a URL has it; a query can also have a question mark, and what browsers do not escape.
_PATH = re.compile(r"/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_QUERY = re.compile('[!"$-~]*')
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_PLAIN = re.compile("[A-Za-z0-9._~-]")
_SEPARATORS = frozenset("/\\")
_CUT = re.compile("[;?#]")


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and its port."""

    #: In lower case, an IPv6 address without brackets.
    host: str
    port: int

    @classmethod
    def of(cls, text: str, *, default_port: int = 0) -> Self | None:
        """Return the authority in *text*; None if it is not one, or without port and *default_port*."""
        found = _AUTHORITY.fullmatch(text.lower())
        if not found:
            return None
        host, port = found[1].strip("[]"), int(found[2] or default_port)
        return cls(host, port) if 0 < port <= _MAX_PORT and len(host) <= _MAX_HOST else None

    @property
    def rule(self) -> str:
        """The host as use rules have it: with its port unless that is 443."""
        return self._with_port(_HTTPS)

    def header(self, default_port: int) -> str:
        """Return the field `Host` for it."""
        return self._with_port(default_port)

    @property
    def is_loopback(self) -> bool:
        """True if it is this machine by its form."""
        return is_loopback(self.host)

    def _with_port(self, default_port: int) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == default_port else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Origin:
    """A server: its authority, and whether it is reached with TLS."""

    authority: Authority
    has_tls: bool

    @property
    def default_port(self) -> int:
        """The port that a URL need not name."""
        return _HTTPS if self.has_tls else _HTTP

    def is_host(self, text: str) -> bool:
        """Return whether the field `Host` with *text* names this server."""
        return Authority.of(text, default_port=self.default_port) == self.authority


def split_url(url: str) -> tuple[Origin, str]:
    """Return the origin, and the path with its query, of a plain *url* of this machine.

    Raises:
        RefusedError: It is not one.
    """
    found = _URL.fullmatch(url)
    authority = Authority.of(found[1], default_port=_HTTP) if found else None
    if not found or not authority:
        raise RefusedError(
            HTTPStatus.BAD_REQUEST,
            "target_refused",
            "The target must be an http:// URL, or a host after CONNECT, also for https://.",
        )
    if not authority.is_loopback:
        raise RefusedError(
            HTTPStatus.FORBIDDEN,
            "plain_http_refused",
            "A value goes to other machines with TLS only: use https://.",
        )
    return Origin(authority, has_tls=False), found[2]


def path_of(target: str) -> str:
    """Return the path of *target*, without its query.

    Raises:
        RefusedError: Servers could read it as another one.
    """
    path, _, query = target.partition("?")
    if flaw := _path_flaw(path) or ("has a fragment" if not _QUERY.fullmatch(query) else ""):
        raise RefusedError(HTTPStatus.BAD_REQUEST, "path_refused", f"The target {flaw}.")
    return path


def _path_flaw(path: str) -> str:
    if not _PATH.fullmatch(path) or path.startswith("//"):
        return "must be a path of a URL, which begins with one slash"
    if any(_is_refused(digits) for digits in _ESCAPE.findall(path)):
        return "must not have an escaped slash, backslash, control character or plain character in its path"
    try:
        decoded = _decoded(path)
    except UnicodeDecodeError:
        return "must have a path in UTF-8"
    # Some servers decode twice, drop what follows one of these characters, or drop spaces.
    if any(_is_refused(digits) for digits in _ESCAPE.findall(decoded)):
        return "must not have a path that is escaped twice"
    if any(_CUT.split(part)[0].strip() in (".", "..") for part in decoded.split("/")):
        return "must not have . or .. in its path"
    return ""


def _is_refused(digits: str) -> bool:
    character = chr(int(digits, 16))
    is_control = character < " " or character == "\x7f"
    return is_control or character in _SEPARATORS or _PLAIN.fullmatch(character) is not None


def _decoded(path: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), path).encode("latin-1").decode()
