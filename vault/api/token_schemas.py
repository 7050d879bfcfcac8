"""The schemas of requests and replies about tokens."""

from datetime import timedelta
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from vault.api.fields import TEXT, Body, BoundedList, Flag, Moment, Reply, number_field, text_field
from vault.api.fields import name_field as _name
from vault.auth.tokens import STATES, Grant
from vault.core.networks import Network, network
from vault.core.principal import ROLES, Scope, scopes_named

_SCOPES = {"example": [Scope.SECRET_FETCH.value]}
_NETWORK = {"format": "cidr", "example": "192.0.2.0/24"}
_NETWORKS = {"example": ["192.0.2.0/24"]}
_TIME = {"example": "2026-11-24T15:30:00.000Z"}
_MAX_SECONDS = 10 * 365 * 86_400
_MAX_NETWORKS = 32
#: More than the number of scopes: duplicates are allowed.
_MAX_SCOPES = 64


class NetworkField(fields.String):
    """A network, or a single address."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> Network:  # type: ignore[override]
        try:
            return network(super()._deserialize(*args, **kwargs))
        except ValueError:
            raise ValidationError("Must be a network such as 192.0.2.0/24.") from None


class NewToken(Body):
    """A token to create. It cannot exceed the caller's grant, the default for omitted fields."""

    refused: ClassVar = {"properties": {"role": {"not": TEXT}, "scopes": {"maxItems": 0}}}

    name = _name("The token's name. Names cannot be reused in a namespace.", required=True)
    role = text_field(
        "A named set of scopes. A token needs a role, scopes, or both.",
        "reader",
        validate=validate.OneOf(list(ROLES)),
    )
    scopes = BoundedList(
        fields.String(validate=validate.OneOf([scope.value for scope in Scope])),
        max_size=_MAX_SCOPES,
        metadata=_SCOPES | {"description": "The token's scopes, in addition to those of `role`."},
    )
    namespace = _name(
        "The token's namespace, which must be your own. It can be omitted.",
        example="default",
        load_default=None,
    )
    networks = BoundedList(
        NetworkField(metadata=_NETWORK),
        max_size=_MAX_NETWORKS,
        load_default=[],
        metadata=_NETWORKS
        | {"description": "The networks or addresses from which the token is valid; if omitted, your own."},
    )
    expires_in = number_field(
        "Seconds until the token expires; if omitted, the maximum that operators have set.",
        86_400,
        maximum=_MAX_SECONDS,
    )

    @validates_schema
    def _check_scopes(self, data: dict[str, Any], **_: object) -> None:
        if not data.get("role") and not data.get("scopes"):
            raise ValidationError({"role": ["Either `role` or `scopes` is required."]})

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

    token = text_field(
        "The token. Keep it: it is not shown again.",
        f"smt_{'0' * 32}05XDxM",
        shape={"pattern": "^smt_[0-9A-Za-z]{38}$"},
        required=True,
    )


class TokenQuery(Body):
    """A filter for tokens; by default all of them."""

    state = text_field(
        "Only tokens in this state; all if omitted.",
        "active",
        load_default=None,
        validate=validate.OneOf(STATES),
    )


class TokenRevocation(Body):
    """A token to revoke."""

    name = _name("The token's name.", required=True)
    cascade = Flag(
        load_default=False,
        metadata={
            "description": "If true, also revoke every token that it created, directly or through others.",
            "example": False,
        },
    )


class TokenRecord(Reply):
    """Everything about a token except the token itself."""

    name = _name("The token's name.", required=True)
    state = text_field(
        "`active`, `expired`, `revoked`, or `altered` if someone changed it in the database. Only active "
        "tokens are valid.",
        "active",
        shape={"enum": list(STATES)},
        required=True,
    )
    namespace = _name("The token's namespace.", example="default", required=True)
    scopes = fields.List(
        fields.String(), required=True, metadata=_SCOPES | {"description": "The token's scopes."}
    )
    networks = fields.List(
        fields.String(metadata=_NETWORK),
        required=True,
        metadata=_NETWORKS
        | {"description": "The networks from which the token is valid; empty for all networks."},
    )
    created_at = Moment(required=True, allow_none=True, metadata=_TIME)
    created_by = text_field("The principal that created the token.", "operator", required=True)
    expires_at = Moment(required=True, allow_none=True, metadata=_TIME)
    revoked_at = Moment(required=True, allow_none=True, metadata=_TIME)


class TokenList(Reply):
    """All tokens of a namespace."""

    tokens = fields.List(
        fields.Nested(TokenRecord),
        required=True,
        metadata={"description": "In order of name, including expired and revoked ones."},
    )


class RevokedToken(Reply):
    """A revoked token."""

    name = _name("The token's name.", required=True)
    revoked = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "Names of the tokens that this request revoked, without those revoked earlier.",
            "example": ["ci"],
        },
    )
