"""The shapes of requests and replies about tokens."""

from datetime import timedelta
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from vault.api.fields import Body, BoundedList, Flag, Moment, Reply, matches, number_field, text_field
from vault.auth.tokens import STATES, Grant
from vault.core.networks import Network, network
from vault.core.principal import NAME_PATTERN, ROLES, Scope, scopes_named

_SCOPES = {"example": [Scope.SECRET_FETCH.value]}
_NETWORKS = {"example": ["192.0.2.0/24"]}
_TIME = {"example": "2026-11-24T15:30:00.000Z"}
_MAX_SECONDS = 10 * 365 * 86_400
_MAX_NETWORKS = 32
#: More than there are; one can be named twice.
_MAX_SCOPES = 64


def _name(description: str, *, example: str = "ci", **options: Any) -> fields.String:
    """Return the field for a token's name, or a namespace."""
    return fields.String(
        validate=matches(NAME_PATTERN, "Up to 64 letters, digits, dots, hyphens and underscores."),
        metadata={"example": example, "pattern": NAME_PATTERN, "description": description},
        **options,
    )


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

    name = _name("Its name. Never used twice in its namespace.", required=True)
    role = text_field(
        "A name for some scopes, see docs/access.md.", "reader", validate=validate.OneOf(list(ROLES))
    )
    scopes = BoundedList(
        fields.String(validate=validate.OneOf([scope.value for scope in Scope])),
        most=_MAX_SCOPES,
        metadata=_SCOPES | {"description": "What it may do, in addition to the role if there is one."},
    )
    namespace = _name("Whose secrets; that of its maker.", example="default", load_default=None)
    networks = BoundedList(
        NetworkField(),
        most=_MAX_NETWORKS,
        load_default=[],
        metadata=_NETWORKS | {"description": "Where it may be used from."},
    )
    expires_in = number_field(
        "Seconds until it ends; by default the operator's longest lifetime.", 86_400, most=_MAX_SECONDS
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

    token = text_field("The token. Keep it: nobody sees it again.", f"smt_{'0' * 32}05XDxM", required=True)


class TokenQuery(Body):
    """Which tokens are wanted; all of them if nothing is said."""

    state = text_field("Tokens in this state.", "active", load_default=None, validate=validate.OneOf(STATES))


class TokenRevocation(Body):
    """A token to revoke."""

    name = _name("What it was named.", required=True)
    cascade = Flag(
        load_default=False,
        metadata={
            "description": "Revoke every token that it made, too, directly or through others.",
            "example": False,
        },
    )


class TokenRecord(Reply):
    """What is known of a token."""

    name = _name("What it was named.", required=True)
    state = text_field(
        "`active`, `expired`, `revoked`, or `altered` if the database holds what the service did not write; "
        "then it does not count.",
        "active",
        required=True,
    )
    namespace = _name("Whose secrets.", example="default", required=True)
    scopes = fields.List(
        fields.String(), required=True, metadata=_SCOPES | {"description": "What it may do."}
    )
    networks = fields.List(
        fields.String(), required=True, metadata=_NETWORKS | {"description": "Where from; empty: anywhere."}
    )
    created_at = Moment(required=True, allow_none=True, metadata=_TIME)
    created_by = text_field("By whom.", "operator", required=True)
    expires_at = Moment(required=True, allow_none=True, metadata=_TIME)
    revoked_at = Moment(required=True, allow_none=True, metadata=_TIME)


class TokenList(Reply):
    """All tokens of a namespace."""

    tokens = fields.List(
        fields.Nested(TokenRecord), required=True, metadata={"description": "By name, ended ones too."}
    )


class RevokedToken(Reply):
    """A token that has ended."""

    name = _name("What it was named.", required=True)
    revoked = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "Names of the tokens that this request ended, without those revoked earlier.",
            "example": ["ci"],
        },
    )
