"""The fields of requests and replies that pass the broker."""

from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus

from vault.clients.broker.problems import RefusedError, bad_reply, malformed
from vault.clients.broker.service import Use
from vault.clients.broker.targets import Origin

Fields = Sequence[tuple[bytes, bytes]]

#: Fields of one connection.
_OF_CONNECTION = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)

_FRAMING = frozenset({b"content-length", b"transfer-encoding"})

#: Fields that the broker writes itself, or that would bring back what it cannot search.
_OF_REQUEST = _OF_CONNECTION | {
    b"host",
    b"content-length",
    b"expect",
    b"accept-encoding",
    b"range",
    b"if-range",
}

#: The length changes with what is removed; and a client should not find another way to the host.
_OF_REPLY = _OF_CONNECTION | {b"content-length", b"alt-svc"}

#: With these, some servers take another method or path than the use rule allowed.
_OVERRIDES = frozenset(
    {
        *(b"x-http-method", b"x-http-method-override", b"x-method-override"),
        *(b"x-original-url", b"x-rewrite-url", b"x-original-uri", b"x-forwarded-uri", b"x-forwarded-prefix"),
    }
)


def require_fields(fields: Fields, origin: Origin) -> None:
    """Require the *fields* of a request to *origin*.

    Raises:
        RefusedError: They name another host, ask for another protocol, or override the request.
    """
    by_name = {_plain(name): value for name, value in fields}
    if not origin.is_host(by_name.get(b"host", b"").decode("latin-1")):
        raise RefusedError(
            HTTPStatus.MISDIRECTED_REQUEST,
            "host_mismatch",
            "The field Host must name the host of the tunnel.",
        )
    if b"upgrade" in by_name or b"upgrade" in _options(fields):
        raise RefusedError(
            HTTPStatus.NOT_IMPLEMENTED,
            "upgrade_refused",
            "The broker speaks HTTP/1.1 only, without upgrades.",
        )
    if not by_name.keys().isdisjoint(_OVERRIDES):
        raise malformed("has a field that overrides its method or path")
    if by_name.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise RefusedError(
            HTTPStatus.EXPECTATION_FAILED, "expectation_refused", "The expectation is unknown."
        )


def sent(fields: Fields, origin: Origin, use: Use) -> Fields:
    """Return the fields of the request to *origin*, with the header of *use* in place of the client's."""
    dropped = {*_OF_REQUEST, *_options(fields), _plain(use.header.encode())}
    kept = [(name, value) for name, value in fields if _plain(name) not in dropped]
    framing = [(name, value) for name, value in fields if name in _FRAMING]
    return [
        (b"host", origin.authority.header(origin.default_port).encode()),
        *kept,
        (b"accept-encoding", b"identity"),
        *framing,
        (use.header.encode(), use.value.encode()),
    ]


def returned(fields: Fields, without_value: Callable[[bytes], bytes]) -> Fields:
    """Return the fields of a reply for the client.

    Raises:
        RefusedError: The reply is compressed, so that it cannot be searched.
    """
    encodings = {value.strip().lower() for name, value in fields if _plain(name) == b"content-encoding"}
    if encodings - {b"identity", b""}:
        raise bad_reply("is compressed, though it should not be")
    dropped = {*_OF_REPLY, *_options(fields)}
    return [
        (name, without_value(value))
        for name, value in fields
        # A name cannot have the mark.
        if _plain(name) not in dropped and without_value(name) == name
    ]


def _options(fields: Fields) -> set[bytes]:
    """Return the names of fields and options that the fields `Connection` list."""
    lists = (value for name, value in fields if _plain(name) == b"connection")
    return {_plain(option.strip()) for listed in lists for option in listed.split(b",")}


def _plain(name: bytes) -> bytes:
    """Return the *name* of a field as servers compare it: some read an underscore as a hyphen."""
    return name.lower().replace(b"_", b"-")


def raw(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """Return *headers* of h11 as a list."""
    return [(bytes(name), bytes(value)) for name, value in headers]
