"""The OpenAPI document, and Swagger UI to read and try it, all served from here."""

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Blueprint, Flask, Response, current_app, json, redirect, render_template, url_for
from marshmallow import Schema
from marshmallow.fields import Field, Nested
from werkzeug.exceptions import NotFound

from vault.api.assets import Asset


class _Converter(OpenAPIConverter):
    def schema2jsonschema(self, schema: Schema | type[Schema]) -> dict[str, Any]:
        """Add the rule about which fields exclude or require each other, where a schema has one.

        Within `allOf` and `not`, because generators drop the fields that a `oneOf` or `anyOf` names.
        """
        shape: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        refused = getattr(schema, "refused", None)
        return shape | {"allOf": [{"not": refused}]} if refused else shape

    def field2default(self, field: Field[Any], **_: Any) -> dict[str, Any]:  # noqa: ARG002 - apispec's signature
        """Omit defaults: openapi-typescript makes fields with one required. Descriptions name them."""
        return {}

    def field2choices(self, field: Field[Any], **options: Any) -> dict[str, Any]:
        """Omit null, which generators take for another value; `nullable` says the same."""
        found: dict[str, Any] = super().field2choices(field, **options)
        return {name: [choice for choice in choices if choice is not None] for name, choices in found.items()}

    def nested2properties(self, field: Field[Any], ret: dict[str, Any]) -> dict[str, Any]:
        """Describe an object that may be null in place: next to a reference, apispec accepts any object."""
        if isinstance(field, Nested) and field.allow_none:
            return self.schema2jsonschema(field.schema)
        found: dict[str, Any] = super().nested2properties(field, ret)
        return found


class SchemaPlugin(MarshmallowPlugin):
    """apispec's plugin for marshmallow, with schemas that client generators understand."""

    Converter = _Converter

    def operation_helper(
        self, path: str | None = None, operations: dict[Any, Any] | None = None, **options: Any
    ) -> None:
        """Sort the responses of *operations* by status."""
        super().operation_helper(path, operations, **options)
        for operation in (operations or {}).values():
            by_status = sorted(operation["responses"].items(), key=lambda response: str(response[0]))
            operation["responses"] = dict(by_status)


#: Key of the application's configuration: whether anonymous callers have no scope.
CREDENTIAL_REQUIRED = "AUTH_ENABLED"

#: Only content from this service; `data:` is for Swagger UI's icons.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
#: Of the page's files, by the end of their names.
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
    return render_template("docs.html", credential_required=current_app.config[CREDENTIAL_REQUIRED])


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


def init_app(app: Flask, spec: APISpec) -> None:
    """Serve *spec* as `/openapi.json`, and the page.

    flask-smorest would render the document for each request, which takes longer than 50 other replies.
    """
    # Now: the workers are forks and share the files, compressed.
    _assets()

    @cache
    def rendered() -> Asset:
        text = json.dumps(spec.to_dict(), indent=2, sort_keys=False)
        return Asset(text.encode(), "application/json")

    @app.get("/openapi.json")
    def openapi_json() -> Response:
        return rendered().reply()

    @app.get("/")
    def root() -> Any:
        return redirect(url_for("documentation.page"))

    app.register_blueprint(blueprint)
