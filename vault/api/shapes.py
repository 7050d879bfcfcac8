"""How the API document tells which fields of a body go together: a schema's `constraints` are part of it."""

from typing import Any

from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema


class _Converter(OpenAPIConverter):
    def schema2jsonschema(self, schema: Schema | type[Schema]) -> dict[str, Any]:
        shape: dict[str, Any] = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        return shape | getattr(schema, "constraints", {})


class Shapes(MarshmallowPlugin):
    """apispec's plugin for marshmallow, that looks at `constraints`, too."""

    Converter = _Converter
