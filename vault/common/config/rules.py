"""Rules about several settings."""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Collection as Names
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


def _fit_versions(values: Mapping[str, Any]) -> None:
    if values["MAX_VERSIONS"] * (values["MAX_SECRET_BYTES"] + _VERSION_OVERHEAD_BYTES) > _MAX_VERSIONS_BYTES:
        text = (
            f"times (MAX_SECRET_BYTES + {_VERSION_OVERHEAD_BYTES}) must be at most {_MAX_VERSIONS_BYTES}. "
            "Lower one of them."
        )
        raise ValidationError({"MAX_VERSIONS": [text]})


def _check_trail(values: Mapping[str, Any]) -> None:
    if values["AUDIT_SINK"] and not values["AUDIT_ENABLED"]:
        raise ValidationError({"AUDIT_SINK": ["requires AUDIT_ENABLED=true."]})


def _check_ports(values: Mapping[str, Any]) -> None:
    if forms.port(values["BIND"]) == forms.port(values["METRICS_BIND"] or ""):
        raise ValidationError({"METRICS_BIND": ["must have a different port from BIND."]})


#: Functions of the values of all settings. Their errors are by the setting's name.
_VALUE_CHECKS: tuple[_Check, ...] = (_fit_versions, _check_trail, _check_ports)
#: Functions of the raw values of all settings that are set.
_RAW_CHECKS: tuple[_Check, ...] = (forms.keys, tls_files.check)


def of_features(name: str) -> list[Callable[..., Any]]:
    """Return the static method *name* of each feature's settings that have one."""
    return [getattr(kind, name) for kind in feature.settings() if hasattr(kind, name)]


def _errors(checks: Iterable[_Check], values: Mapping[str, Any], unknown: Names[str]) -> dict[str, Any]:
    """Return the errors of all *checks*; what concerns *unknown* settings has none."""
    errors: dict[str, Any] = {}
    for check in checks:
        try:
            check(values)
        except ValidationError as error:
            errors |= error.messages_dict
        except KeyError as error:
            if error.args[0] not in unknown:
                raise
    return errors


class Rules(Schema):
    """A schema without fields: those of all settings are added."""

    # Also if other settings are invalid: the message lists all errors.
    @validates_schema(skip_on_field_errors=False, pass_original=True)
    def _check(self, values: Mapping[str, Any], raw: Mapping[str, str], **_: object) -> None:
        # Those that are invalid are not among the values.
        invalid = self.fields.keys() - values.keys()
        errors = _errors((*_VALUE_CHECKS, *of_features("check_values")), values, invalid)
        errors |= _errors((*_RAW_CHECKS, *of_features("check")), raw, ())
        if errors:
            raise ValidationError(errors)

    @post_load
    def _share_connections(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        """Leave half of all connections to other addresses, unless the setting says otherwise."""
        name = "MAX_CONNECTIONS_PER_ADDRESS"
        return data | {name: data[name] or data["MAX_CONNECTIONS"] // 2}
