"""The OpenAPI document: the description of all operations, from their schemas and documentation."""

from functools import cache
from typing import Any

import flask_smorest
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from flask import Flask, json
from marshmallow import Schema
from marshmallow.fields import Field, Nested

from vault import __version__
from vault.toolkit.document import errors, headers
from vault.toolkit.http import auth
from vault.toolkit.http.assets import Asset

_DESCRIPTION = """\
Stores passwords, keys and tokens. Secrets are encrypted at rest, and every access is in the audit trail.

**Try it here**: open *Create a secret*, choose *Try it out*, type a value and choose *Execute*. Send
the new ID with *Fetch a secret*. Values are in base64. IDs appear only in bodies, never in URLs.

If the service requires a credential, choose *Authorize* and enter a token (`smt_…`) or a JWT. Commands to
copy take it from the variable `TOKEN`.

Every error is a problem document (RFC 9457), and its `code` names the [kind](/problems/).{forms} Every \
reply has an `X-Request-ID` header; logs and the audit
trail contain the same ID. With the header `X-Receipt: 1`, a success has a signed receipt of its audit entry.
"""

_CONTACT = {"name": "The Secret Manager authors"}
_LICENSE = {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}


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
            return {**self.schema2jsonschema(field.schema), "nullable": True}
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


class _Pages(flask_smorest.Api):  # type: ignore[misc] # flask-smorest is not typed
    """flask-smorest's Api without its own documentation of errors."""

    DEFAULT_ERROR_RESPONSE_NAME = None


@cache
def of(blueprints: tuple[flask_smorest.Blueprint, ...], forms: tuple[str, ...]) -> Asset:
    """Return the document of the operations in *blueprints*, with sentences about *forms* of errors.

    It depends on no setting, so all applications of a process share it, as do the workers, which are forks.
    flask-smorest would render it for each request, which takes longer than 50 other replies.
    """
    description = _DESCRIPTION.format(forms="".join(f" {sentence}" for sentence in forms))
    # An application of its own, because flask-smorest describes what an application serves.
    app = Flask(__name__)
    app.config.update(
        API_TITLE="Secret Manager",
        API_VERSION=__version__,
        # Not 3.1, which fewer generators of clients understand.
        OPENAPI_VERSION="3.0.3",
        API_SPEC_OPTIONS={
            "info": {"description": description, "contact": _CONTACT, "license": _LICENSE},
            "servers": [{"url": "/", "description": "The service that this document comes from"}],
        },
    )
    pages = _Pages(app, spec_kwargs={"marshmallow_plugin": SchemaPlugin()})
    # Remove the schemas of flask-smorest's own errors and pages: this API does not use them.
    pages.spec.components.schemas.clear()
    for module in (headers, auth):
        module.document(pages.spec)
    errors.document(pages.spec, [getattr(blueprint, "error_docs", errors.NONE) for blueprint in blueprints])
    for blueprint in blueprints:
        pages.register_blueprint(blueprint)
    text = json.dumps(pages.spec.to_dict(), indent=2, sort_keys=False)
    return Asset(text.encode(), "application/json")
