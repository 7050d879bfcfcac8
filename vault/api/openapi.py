"""The OpenAPI document, and Swagger UI to read and try it, all served from here."""

from functools import cache
from importlib.resources import files
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Blueprint, Flask, Response, json, render_template, send_from_directory
from marshmallow import Schema
from marshmallow.fields import Field


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


#: Only content from this service; `data:` is for Swagger UI's icons.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_SWAGGER_UI = str(files("flask_swagger_ui") / "dist")

blueprint = Blueprint(
    "documentation",
    __name__,
    url_prefix="/docs",
    template_folder="templates",
    static_folder="static",
    static_url_path="/page",
)


@blueprint.get("")
def page() -> str:
    """Return the page."""
    return render_template("docs.html")


@blueprint.get("/ui/<any('swagger-ui.css', 'swagger-ui-bundle.js'):name>")
def swagger_ui(name: str) -> Response:
    """Return one of the two files of Swagger UI that the page needs."""
    return send_from_directory(_SWAGGER_UI, name)


@blueprint.after_request
def protect(reply: Response) -> Response:
    """Restrict the page to content from this service."""
    reply.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    reply.headers["Referrer-Policy"] = "no-referrer"
    return reply


def init_app(app: Flask, spec: APISpec) -> None:
    """Serve *spec* as `/openapi.json`, and the page.

    flask-smorest would render the document for each request, which takes longer than 50 other replies.
    """

    @cache
    def rendered() -> str:
        return json.dumps(spec.to_dict(), indent=2, sort_keys=False)

    @app.get("/openapi.json")
    def openapi_json() -> Response:
        return Response(rendered(), content_type="application/json")

    app.register_blueprint(blueprint)
