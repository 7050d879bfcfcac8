"""The shapes of requests and replies about tokens."""

from datetime import timedelta
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from vault.api.fields import Body, Moment, Reply
from vault.networks import Network, network
from vault.operations.principal import NAME_PATTERN, ROLES, Scope, is_name, scopes_named
from vault.operations.tokens import STATES, Grant

_NAME = {"example": "ci", "pattern": NAME_PATTERN}
_NAMESPACE = {"example": "default", "pattern": NAME_PATTERN}
_SCOPES = {"example": [Scope.SECRET_FETCH.value]}
_STATE = {"example": "active"}
_NETWORKS = {"example": ["192.0.2.0/24"]}
_TIME = {"example": "2026-11-24T15:30:00.000Z"}
_MOST_SECONDS = 10 * 365 * 86_400
_MOST_NETWORKS = 32


class Name(fields.String):
    """A token's name, or a namespace."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> str:
        text = super()._deserialize(*args, **kwargs)
        if not is_name(text):
            raise ValidationError("Up to 64 letters, digits, dots, hyphens and underscores.")
        return text


class NetworkField(fields.String):
    """A network, or one address."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> Network:  # type: ignore[override]
        try:
            return network(super()._deserialize(*args, **kwargs))
        except ValueError:
            raise ValidationError("Not a network such as 192.0.2.0/24.") from None


class NewToken(Body):
    """A token to make. It cannot have more than whoever makes it; what is left out is as they have it."""

    constraints: ClassVar = {
        "anyOf": [
            {"required": ["role"]},
            {"required": ["scopes"], "properties": {"scopes": {"minItems": 1}}},
        ]
    }

    name = Name(
        required=True, metadata=_NAME | {"description": "What the audit trail calls it. Never used twice."}
    )
    role = fields.String(
        validate=validate.OneOf(list(ROLES)),
        metadata={"example": "reader", "description": "A name for some scopes, see docs/access.md."},
    )
    scopes = fields.List(
        fields.String(validate=validate.OneOf([scope.value for scope in Scope])),
        metadata=_SCOPES | {"description": "What it may do, in addition to the role if there is one."},
    )
    namespace = Name(
        load_default=None, metadata=_NAMESPACE | {"description": "Whose secrets; that of its maker."}
    )
    networks = fields.List(
        NetworkField(),
        load_default=[],
        validate=validate.Length(max=_MOST_NETWORKS),
        metadata=_NETWORKS | {"description": "Where it may be used from."},
    )
    expires_in = fields.Integer(
        strict=True,
        load_default=None,
        validate=validate.Range(1, _MOST_SECONDS),
        metadata={"example": 86_400, "description": "Seconds until it ends."},
    )

    @validates_schema
    def _check_scopes(self, data: dict[str, Any], **_: object) -> None:
        if not data.get("role") and not data.get("scopes"):
            raise ValidationError({"role": ["Give a role or scopes."]})

    @post_load
    def _grant(self, data: dict[str, Any], **_: object) -> Grant:
        seconds = data["expires_in"]
        return Grant(
            name=data["name"],
            scopes=ROLES.get(data.get("role", ""), frozenset()) | scopes_named(data.get("scopes", [])),
            namespace=data["namespace"],
            networks=tuple(data["networks"]),
            lifetime=timedelta(seconds=seconds) if seconds else None,
        )


class CreatedToken(Reply):
    """A new token."""

    token = fields.String(
        required=True,
        metadata={
            "example": "smt_" + "0" * 32 + "05XDxM",
            "description": "The token. Keep it: nobody sees it again.",
        },
    )


class TokenQuery(Body):
    """Which tokens are wanted; all of them if nothing is said."""

    state = fields.String(
        load_default=None,
        validate=validate.OneOf(STATES),
        metadata=_STATE | {"description": "Tokens in this state."},
    )


class TokenReference(Body):
    """Which token."""

    name = Name(required=True, metadata=_NAME | {"description": "What it was named."})


class TokenRecord(Reply):
    """What is known of a token."""

    name = fields.String(required=True, metadata=_NAME | {"description": "What it was named."})
    state = fields.String(
        required=True,
        metadata={
            **_STATE,
            "description": "`active`, `expired`, `revoked`, or `altered` if the database holds what the "
            "service did not write; then it does not count.",
        },
    )
    namespace = fields.String(required=True, metadata=_NAMESPACE | {"description": "Whose secrets."})
    scopes = fields.List(
        fields.String(), required=True, metadata=_SCOPES | {"description": "What it may do."}
    )
    networks = fields.List(
        fields.String(), required=True, metadata=_NETWORKS | {"description": "Where from; empty: anywhere."}
    )
    created_at = Moment(required=True, allow_none=True, metadata=_TIME)
    created_by = fields.String(required=True, metadata={"example": "operator", "description": "By whom."})
    expires_at = Moment(required=True, allow_none=True, metadata=_TIME)
    revoked_at = Moment(required=True, allow_none=True, metadata=_TIME)


class TokenList(Reply):
    """All tokens of a namespace."""

    tokens = fields.List(
        fields.Nested(TokenRecord), required=True, metadata={"description": "By name, ended ones too."}
    )


class RevokedToken(Reply):
    """Which token has ended."""

    name = fields.String(required=True, metadata=_NAME | {"description": "What it was named."})
