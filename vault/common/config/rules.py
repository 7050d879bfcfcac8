"""Rules about several settings."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, post_load, validates_schema

from vault.common import feature
from vault.common.config import tls_files
from vault.common.config import validators as forms

#: Size limit of all versions of a secret: they are one document, and MongoDB's limit is 16 MiB.
_MAX_VERSIONS_BYTES = 15 * 1_048_576
#: Bytes added to each value: envelope, key ID, number, time.
_VERSION_OVERHEAD_BYTES = 256

_Check = Callable[[Mapping[str, Any]], None]
#: Functions of the raw values of all settings that are set. Their errors are by the setting's name.
_CHECKS: tuple[_Check, ...] = (forms.keys, tls_files.check)


def _of_features(name: str) -> list[_Check]:
    """Return the static method *name* of each feature's settings that have one."""
    return [getattr(kind, name) for kind in feature.settings() if hasattr(kind, name)]


def _require(checks: Iterable[_Check], values: Mapping[str, Any]) -> None:
    """Raise the errors of all *checks* together."""
    errors: dict[str, Any] = {}
    for check in checks:
        try:
            check(values)
        except ValidationError as error:
            errors |= error.messages_dict
    if errors:
        raise ValidationError(errors)


class Rules(Schema):
    """A schema without fields: those of all settings are added."""

    @validates_schema
    def _fit_versions(self, data: dict[str, Any], **_: Any) -> None:
        if data["MAX_VERSIONS"] * (data["MAX_SECRET_BYTES"] + _VERSION_OVERHEAD_BYTES) > _MAX_VERSIONS_BYTES:
            raise ValidationError(
                f"times (MAX_SECRET_BYTES + {_VERSION_OVERHEAD_BYTES}) must be at most "
                f"{_MAX_VERSIONS_BYTES}. Lower one of them.",
                "MAX_VERSIONS",
            )

    @validates_schema
    def _check_trail(self, data: dict[str, Any], **_: Any) -> None:
        if data["AUDIT_SINK"] and not data["AUDIT_ENABLED"]:
            raise ValidationError("requires AUDIT_ENABLED=true.", "AUDIT_SINK")

    @validates_schema
    def _check_features(self, data: dict[str, Any], **_: Any) -> None:
        _require(_of_features("check_values"), data)

    @validates_schema
    def _check_ports(self, data: dict[str, Any], **_: Any) -> None:
        if forms.port(data["BIND"]) == forms.port(data["METRICS_BIND"] or ""):
            raise ValidationError("must have a different port from BIND.", "METRICS_BIND")

    # Also if other settings are invalid: the message lists all errors.
    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _check_raw(self, _values: object, raw: Mapping[str, str], **_: object) -> None:
        _require((*_CHECKS, *_of_features("check")), raw)

    @post_load
    def _share_connections(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        """Leave half of all connections to other addresses, unless the setting says otherwise."""
        name = "MAX_CONNECTIONS_PER_ADDRESS"
        return data | {name: data[name] or data["MAX_CONNECTIONS"] // 2}
