"""The console's stylesheet and script. Their addresses have their hash, so that caches may keep them."""

from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from pathlib import Path

from flask import Blueprint, Response, current_app, url_for
from werkzeug.exceptions import NotFound

from vault.toolkit.http.assets import Asset
from vault.toolkit.pages import style
from vault.toolkit.pages.operations import require_address

blueprint = Blueprint("assets", __name__)

#: Key of the application's extensions: the files, as `load` returns them.
FILES = "secret-manager-console-files"

_CONTENT_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_HASH_CHARACTERS = 16


def folders_of(pages: Iterable[Blueprint]) -> tuple[Path, ...]:
    """Return the folders of static files next to the modules of *pages*, each once."""
    return tuple(dict.fromkeys(Path(page.root_path) / "static" for page in pages))


@cache
def load(folders: tuple[Path, ...]) -> dict[str, tuple[str, Asset]]:
    """Return the name and content of each file by its kind, `css` or `js`, joined from those in *folders*.

    The script is one module: what a file of the first folder declares, all others can use.
    """
    contents = {
        "css": style.BASE + _joined(folders, "css"),
        "js": _joined(folders, "js"),
    }
    return {
        kind: (
            f"console.{sha256(content.encode()).hexdigest()[:_HASH_CHARACTERS]}.{kind}",
            Asset(content.encode(), _CONTENT_TYPES[kind]),
        )
        for kind, content in contents.items()
    }


def _joined(folders: tuple[Path, ...], kind: str) -> str:
    return "".join(path.read_text() for folder in folders for path in sorted(folder.glob(f"*.{kind}")))


def _files() -> dict[str, tuple[str, Asset]]:
    found: dict[str, tuple[str, Asset]] = current_app.extensions[FILES]
    return found


def address(kind: str) -> str:
    """Return the address of the file of this *kind*, `css` or `js`."""
    return url_for("console.assets.asset", name=_files()[kind][0])


@blueprint.get("/assets/<name>")
def asset(name: str) -> Response:
    """Return one of the files."""
    require_address()
    found = dict(_files().values()).get(name)
    if found is None:
        raise NotFound
    reply = found.reply()
    reply.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return reply
