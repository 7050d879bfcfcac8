"""Public content that does not change: in memory, compressed once, with an entity tag.

Only content without secrets may use this. The size of a compressed reply reveals what of a caller's own text
recurs in it (BREACH), so replies of the API are never compressed.
"""

import gzip
from hashlib import sha256
from http import HTTPStatus

from flask import Response, request

from vault.toolkit.http.connections import in_parts


class _Form:
    """One form of the content, plain or compressed, with the headers that belong to it."""

    def __init__(self, content: bytes, etag: str, encoding: str = "") -> None:
        self.etag = etag
        self.parts = in_parts(content)
        self.headers = {"ETag": f'"{etag}"', "Vary": "Accept-Encoding", "Cache-Control": "no-cache"}
        if encoding:
            self.headers["Content-Encoding"] = encoding


class Asset:
    """Content of type *content_type*. Caches may keep it, and have to ask whether it is still current."""

    def __init__(self, content: bytes, content_type: str) -> None:
        self._content_type = content_type
        digest = sha256(content).hexdigest()[:32]
        self._plain = self._gzip = _Form(content, digest)
        # `mtime`: all replicas have the same bytes, and so may have the same tag.
        compressed = gzip.compress(content, compresslevel=6, mtime=0)
        if len(compressed) < len(content):
            self._gzip = _Form(compressed, f"{digest}-gzip", "gzip")

    def reply(self) -> Response:
        """Return the reply to the current request: the content in a form that the client accepts, or 304."""
        accepts_gzip = request.accept_encodings.best_match(("gzip", "identity")) == "gzip"
        form = self._gzip if accepts_gzip else self._plain
        if request.if_none_match.contains_weak(form.etag):
            return Response(status=HTTPStatus.NOT_MODIFIED, headers=form.headers)
        return Response(form.parts, headers=form.headers, content_type=self._content_type)
