"""The console's stylesheet and script. Their addresses have their hash, so that caches may keep them."""

from functools import cache
from hashlib import sha256
from pathlib import Path

from flask import Response, url_for
from werkzeug.exceptions import NotFound

from vault.api.site.assets import Asset
from vault.console.operations import blueprint, require_address
from vault.core import style

_FOLDER = Path(__file__).parent / "static"
_CONTENT_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_HASH_CHARACTERS = 16


@cache
def load() -> dict[str, tuple[str, Asset]]:
    """Return the address and content of each file, by the end of its name."""
    contents = {
        "css": style.BASE + _joined("css"),
        "js": _joined("js"),
    }
    return {
        kind: (
            f"console.{sha256(content.encode()).hexdigest()[:_HASH_CHARACTERS]}.{kind}",
            Asset(content.encode(), _CONTENT_TYPES[kind]),
        )
        for kind, content in contents.items()
    }


def _joined(kind: str) -> str:
    return "".join(path.read_text() for path in sorted(_FOLDER.glob(f"*.{kind}")))


def address(kind: str) -> str:
    """Return the address of the file of this *kind*, `css` or `js`."""
    return url_for("console.console_asset", name=load()[kind][0])


@blueprint.get("/assets/<name>")
def console_asset(name: str) -> Response:
    """Return one of the files."""
    require_address()
    found = dict(load().values()).get(name)
    if found is None:
        raise NotFound
    reply = found.reply()
    reply.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return reply
