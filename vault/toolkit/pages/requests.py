"""Requests of the console's pages: the session's cookie, the page's own origin, and forms."""

import hmac
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from flask import Request, Response
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from vault.common.networks import is_loopback
from vault.toolkit.http import bodies
from vault.toolkit.http.hosts import host_of
from vault.toolkit.http.prefixes import CONSOLE

_FORM = "application/x-www-form-urlencoded"
_MAX_FIELDS = 8
#: Name of the field of a form that proves its session.
FORM_TOKEN = "form_token"  # noqa: S105 - a name

_ELSEWHERE = (
    "The request does not come from a page of this console. Open the console over HTTPS, or on this machine."
)
_UNREADABLE = "The form could not be read."

#: A page of the console, as a path that browsers follow to no other host.
_PAGE = re.compile(rf"{CONSOLE}[!-\[\]-~]*", re.ASCII)


def _is_on_this_machine(host: str) -> bool:
    return is_loopback(host.strip("[]"))


def _is_plain(req: Request) -> bool:
    """Return whether *req* came over plain HTTP within this machine, the only way without HTTPS.

    A proxy can have received it from elsewhere, and have replaced the host by its own name for the service.
    """
    is_direct = req.scheme == "http" and "X-Forwarded-For" not in req.headers
    return is_direct and _is_on_this_machine(host_of(req.host))


@dataclass(frozen=True, slots=True)
class Cookie:
    """A cookie that no script can read and that is for one host only."""

    name: str
    same_site: str
    #: None: until the browser ends.
    max_age: int | None = None

    def name_for(self, req: Request) -> str:
        """Return its name for the browser that sent *req*."""
        return self.name if _is_plain(req) else f"__Host-{self.name}"


#: The session.
SESSION = Cookie("session", "Strict")


def cookie_of(req: Request, cookie: Cookie = SESSION) -> str:
    """Return the text of the *cookie* in *req*; empty without one."""
    return req.cookies.get(cookie.name_for(req), "")


def set_cookie(reply: Response, req: Request, text: str, cookie: Cookie = SESSION) -> None:
    """Make the browser that sent *req* keep *text* as *cookie*, or forget it if *text* is empty."""
    reply.set_cookie(
        cookie.name_for(req),
        text,
        max_age=cookie.max_age if text else 0,
        secure=not _is_plain(req),
        httponly=True,
        samesite=cookie.same_site,
    )


def origin_of(req: Request) -> str:
    """Return the origin of the pages of this console, by the address that *req* asks for.

    Raises:
        BadRequest: The address has no valid host.
    """
    if not host_of(req.host):
        raise BadRequest(_ELSEWHERE)
    return f"{'http' if _is_plain(req) else 'https'}://{req.host}"


def require_same_origin(req: Request) -> None:
    """Require that no page elsewhere sent *req*, as far as the browser says.

    Raises:
        BadRequest: One did.
    """
    if req.headers.get("Sec-Fetch-Site") in ("same-site", "cross-site"):
        raise BadRequest(_ELSEWHERE)


def require_private(req: Request) -> None:
    """Require that the browser got here over HTTPS, or within this machine.

    Over plain HTTP from elsewhere, browsers do not send `Sec-Fetch-Mode`.

    Raises:
        BadRequest: It did not, so that a credential would be readable on the way.
    """
    if req.scheme == "http" and not _is_plain(req) and "Sec-Fetch-Mode" not in req.headers:
        raise BadRequest(_ELSEWHERE)


def require_own_origin(req: Request) -> None:
    """Require that a page of this console sent *req*.

    With the policy `no-referrer`, browsers send forms with the origin `null`, and say in `Sec-Fetch-Site`,
    which no page can set, that they come from the same origin.

    Raises:
        BadRequest: Another page sent it, or it does not say which.
    """
    site = req.headers.get("Sec-Fetch-Site")
    origin = req.headers.get("Origin")
    if origin is None:
        origin = req.headers.get("Referer", "")
    if site not in (None, "same-origin") or not (
        _is_own(origin, req) or (origin == "null" and site == "same-origin")
    ):
        raise BadRequest(_ELSEWHERE)


def require_whole_page(req: Request) -> None:
    """Require that a person opened the page that *req* asks for, or a page of this console did.

    A part of another page, such as an image, would tell that page how long the reply takes.

    Raises:
        BadRequest: Another page asks for it as a part of its own.
    """
    site, mode = req.headers.get("Sec-Fetch-Site"), req.headers.get("Sec-Fetch-Mode")
    if site in ("same-site", "cross-site") and mode != "navigate":
        raise BadRequest(_ELSEWHERE)


def _is_own(origin: str, req: Request) -> bool:
    """Return whether *origin*, the beginning of an address, is of the host that *req* asks for."""
    host = host_of(req.host)
    try:
        parts = urlsplit(origin)
        port, asked = parts.port, urlsplit(f"//{req.host}").port
    except ValueError:
        return False
    ports = {"https": 443} | ({"http": 80} if _is_plain(req) else {})
    if not host or host_of(parts.netloc) != host or parts.scheme not in ports:
        return False
    # A proxy can remove the port from the host.
    return asked is None or asked == (port or ports[parts.scheme])


def page_of(req: Request) -> str:
    """Return the page that *req* asks for, with its arguments; empty for forms and the first page."""
    path = f"{req.path}?{req.query_string.decode('latin-1')}".removesuffix("?")
    return path if req.method == "GET" and path != CONSOLE and is_page(path) else ""


def is_page(path: str) -> bool:
    """Return whether *path* is in the console, so that a sign-in may lead to it."""
    return _PAGE.fullmatch(path) is not None


def max_size(req: Request) -> int:
    """Return the maximum size of the form in *req*, in bytes; 0 without one. Errors as `bodies.max_size`."""
    if req.method != "POST":
        return 0
    if req.mimetype != _FORM:
        raise UnsupportedMediaType(f"The Content-Type must be {_FORM}.")
    return bodies.max_size_of_any(req)


def receive(req: Request) -> None:
    """Read the form of *req*, if it has one."""
    if req.method == "POST":
        bodies.receive(req)


def fields() -> dict[str, str]:
    """Return the fields of the form.

    Raises:
        BadRequest: It cannot be read.
    """
    try:
        pairs = parse_qsl(
            bodies.received().decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAX_FIELDS,
        )
    except ValueError:
        # Its text quotes the form.
        raise BadRequest(_UNREADABLE) from None
    return dict(pairs)


def require_form_token(given: str, expected: str) -> None:
    """Require the form token of the session.

    Raises:
        BadRequest: The form is not of this session.
    """
    if not hmac.compare_digest(given.encode(errors="replace"), expected.encode()):
        raise BadRequest("The page is of another session. Reload it.")
