"""Serves the OpenAPI document, and Swagger UI to read and try it."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from flask import Blueprint, Flask, Response, redirect, render_template, url_for
from werkzeug.exceptions import NotFound

from vault.toolkit.http.assets import Asset

#: Only content from this service; `data:` is for Swagger UI's icons.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
#: The content types of the page's files, by the end of their names.
_CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@cache
def _assets() -> dict[str, Asset]:
    """Return the files that the page needs, by name: its own, and two of Swagger UI."""
    swagger_ui = Path(str(files("flask_swagger_ui"))) / "dist"
    paths = [*(Path(__file__).parent / "static").iterdir()]
    paths += [swagger_ui / "swagger-ui.css", swagger_ui / "swagger-ui-bundle.js"]
    return {path.name: Asset(path.read_bytes(), _CONTENT_TYPES[path.suffix]) for path in paths}


blueprint = Blueprint("documentation", __name__, url_prefix="/docs", template_folder="templates")


@blueprint.get("")
def page() -> str:
    """Return the page."""
    return render_template("docs.html")


@blueprint.get("/page/<filename>", endpoint="static")
@blueprint.get("/ui/<any('swagger-ui.css', 'swagger-ui-bundle.js'):filename>", endpoint="swagger_ui")
def asset(filename: str) -> Response:
    """Return one of the files that the page needs."""
    found = _assets().get(filename)
    if found is None:
        raise NotFound
    return found.reply()


@blueprint.after_request
def protect(reply: Response) -> Response:
    """Restrict the page to content from this service."""
    reply.headers.setdefault("Cache-Control", "no-cache")
    reply.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    reply.headers["Referrer-Policy"] = "no-referrer"
    return reply


def init_app(app: Flask, document: Asset) -> None:
    """Serve *document* as `/openapi.json`, and the page."""
    # Now: the workers are forks and share the files, compressed.
    _assets()

    @app.get("/openapi.json")
    def openapi_json() -> Response:
        return document.reply()

    @app.get("/")
    def root() -> Any:
        return redirect(url_for("documentation.page"))

    app.register_blueprint(blueprint)
