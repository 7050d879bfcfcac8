"""Bodies of requests."""

from flask import Request, g
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.exceptions import NotImplemented as UnsupportedTransferCoding

from vault.common import deadline
from vault.toolkit.http.application import header

_CONTENT_TYPE = "application/json"
_BODY = "body"


def forget_origin(error: Exception) -> None:
    """Remove the origin of *error*: frames and errors that would keep the body in memory."""
    error.__traceback__ = error.__context__ = error.__cause__ = None


def max_size(req: Request) -> int:
    """Return the maximum size of the body of *req*, in bytes.

    Raises:
        UnsupportedMediaType: The body is not declared as plain JSON.
        NotImplemented: It has a transfer coding other than `chunked`.
        RequestEntityTooLarge: Its declared size exceeds the limit.
    """
    # What most clients send needs no parsing.
    if req.environ.get("CONTENT_TYPE") != _CONTENT_TYPE and not _is_json(req):
        raise UnsupportedMediaType(f"The Content-Type must be {_CONTENT_TYPE}, in UTF-8.")
    return max_size_of_any(req)


def _is_json(req: Request) -> bool:
    charset = req.mimetype_params.get("charset", "utf-8")
    return req.mimetype == _CONTENT_TYPE and charset.lower() == "utf-8"


def max_size_of_any(req: Request) -> int:
    """Return the maximum size of the body of *req*, in bytes, whatever it is declared as.

    Raises:
        UnsupportedMediaType: It is compressed.
        NotImplemented: It has a transfer coding other than `chunked`.
        RequestEntityTooLarge: Its declared size exceeds the limit.
    """
    if header(req, "Content-Encoding") not in (None, "identity"):
        raise UnsupportedMediaType("The body must not have a Content-Encoding.")
    coding = header(req, "Transfer-Encoding")
    if coding and coding.lower() != "chunked":
        # The server also accepts compressed ones, and does not decompress them.
        raise UnsupportedTransferCoding
    limit = req.max_content_length or 0
    # The size of a chunked body is unknown until its end.
    size = limit if coding else req.content_length or 0
    if size > limit:
        raise _too_large(limit)
    return size


def _too_large(limit: int | None) -> RequestEntityTooLarge:
    return RequestEntityTooLarge(f"The body may have at most {limit} bytes.")


def receive(req: Request) -> None:
    """Read the body of *req*.

    Raises:
        RequestTimeout: It did not arrive in time.
        RequestEntityTooLarge: Its size exceeds the limit; the rest was not read.
        BadRequest: Its framing violates HTTP.
    """
    setattr(g, _BODY, _read(req))


def received() -> bytes:
    """Return the body that `receive` has read, once: otherwise, it would stay in memory with its request."""
    body: bytes = g.pop(_BODY)
    return body


def _read(req: Request) -> bytes:
    length = req.content_length
    try:
        with deadline.Paused():
            if length is None:
                # The stream ends at the limit; only a further read raises.
                body = req.stream.read()
                try:
                    req.stream.read(1)
                except RequestEntityTooLarge:
                    raise _too_large(req.max_content_length) from None
            else:
                # Within the limit: `max_size` has checked it.
                body = req.environ["wsgi.input"].read(length)
    except HTTPException:
        # Too large, or too slow.
        raise
    except Exception:  # noqa: BLE001 - errors of the server, which only the client can have caused
        raise BadRequest("The body's framing violates HTTP.") from None
    if length not in (None, len(body)):
        raise BadRequest("The body is shorter than its Content-Length.")
    return body
