"""The schemas of requests and replies about tokens."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, post_load, validate, validates_schema

from vault.common.networks import Network, network
from vault.common.paths import MAX_NAME_BYTES, MAX_PATHS, Paths, path_flaw
from vault.core.access.revocations import MAX_NAMED, Revocation, standing_kinds
from vault.core.access.tokens.info import KINDS, STATES
from vault.core.access.tokens.pages import CURSOR_PATTERN
from vault.core.access.tokens.tokens import BOTH_SIDES, Grant
from vault.core.principal import MAX_LIFETIME, ROLES, SIDES_OF_USE, Scope, scopes_named
from vault.toolkit.document.fields import (
    PATH_PATTERN,
    TEXT,
    Body,
    BoundedList,
    Reply,
    boolean_field,
    choice_field,
    cursor_field,
    flag_field,
    flawless,
    next_cursor_field,
    number_field,
    objects_field,
    text_field,
    texts_field,
    time_field,
)
from vault.toolkit.document.fields import name_field as _name

_SCOPES = [Scope.SECRET_FETCH.value]
_TRUE = {"enum": [True]}
_INTEGER = {"type": "integer"}
_NETWORK = {"format": "cidr", "example": "192.0.2.0/24"}
_NETWORKS = ["192.0.2.0/24"]
_PATHS = ["billing/", "shared/db"]
#: In order: a token's creation, its last use, its expiry, and the end of its renewals.
_CREATED = "2026-11-24T15:30:00.000Z"
_USED = "2026-11-24T16:30:00.000Z"
_EXPIRES = "2026-11-25T15:30:00.000Z"
_LONGEST = "2027-02-22T15:30:00.000Z"
_MAX_SECONDS = round(MAX_LIFETIME.total_seconds())
_MAX_NETWORKS = 32
_MAX_LISTED = 1_000
_CURSOR = "ci"
#: More than the number of scopes: duplicates are allowed.
_MAX_SCOPES = 64


def _time(seconds: int | None) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds else None


class NetworkField(fields.String):
    """A network, or a single address."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> Network:  # type: ignore[override]
        try:
            return network(super()._deserialize(*args, **kwargs))
        except ValueError:
            raise ValidationError("Must be a network such as 192.0.2.0/24.") from None


_CASCADE = (
    "If true, also revoke every token that it created, directly or through others, delete the roles, "
    "issuers, webhooks and requests of all these tokens, and pause their rotation plans."
)
_ALL_NAMESPACES = (
    "If true, `audit:read` shows the entries of all namespaces, which your own has to; outside `default`, it "
    "shows only those of its namespace otherwise."
)
_RENEWABLE_UNTIL = "The time beyond which no renewal extends the token; null if it cannot be renewed."
_LAST_USED_AT = (
    "The last use, to about a minute; null if none is on record. Write access to the database can alter it."
)


def networks_field(grant: str) -> BoundedList:
    """Return the field for the networks of a new *grant*, a token or a role."""
    description = f"The networks or addresses from which the {grant} is valid; if omitted, your own."
    return BoundedList(
        NetworkField(metadata=_NETWORK),
        max_size=_MAX_NETWORKS,
        load_default=[],
        metadata={"description": description, "example": _NETWORKS},
    )


def scopes_field(description: str, **options: Any) -> BoundedList:
    """Return the field for the scopes of a new grant, a token or a role."""
    return BoundedList(
        fields.String(validate=validate.OneOf([scope.value for scope in Scope])),
        max_size=_MAX_SCOPES,
        metadata={"description": description, "example": _SCOPES},
        **options,
    )


def granted_networks(holder: str) -> fields.List[Any]:
    """Return the field for the networks of a *holder* in a reply."""
    description = f"The networks from which the {holder} is valid; empty for all networks."
    return texts_field(description, _NETWORKS, item=_NETWORK)


def paths_field(grant: str, *, example: Sequence[str] = ("billing/", "shared/db")) -> BoundedList:
    """Return the field for the paths of a new *grant*, a token or a role."""
    return BoundedList(
        fields.String(
            validate=flawless(path_flaw), metadata={"pattern": PATH_PATTERN, "maxLength": MAX_NAME_BYTES}
        ),
        max_size=MAX_PATHS,
        validate=validate.Length(min=1),
        load_default=(),
        metadata={
            "description": f"The names of the secrets that the {grant} can reach: whole names, and prefixes "
            f"that end in a slash. If omitted, your own; without any, the {grant} can reach every secret.",
            "example": list(example),
        },
    )


def all_namespaces_field() -> fields.Boolean:
    """Return the field for the reach of `audit:read` of a new grant, a token or a role."""
    return flag_field(_ALL_NAMESPACES)


def sees_all_field(holder: str) -> fields.Boolean:
    """Return the field for the reach of `audit:read` of a *holder* in a reply."""
    return boolean_field(
        f"True if `audit:read` shows the {holder} the entries of all namespaces.",
        example=False,
        required=True,
    )


class NewToken(Body):
    """A token to create. It cannot exceed the caller's grant, the default for omitted fields."""

    refused: ClassVar = {
        "anyOf": [
            {"properties": {"role": {"not": TEXT}, "scopes": {"maxItems": 0}}},
            {"required": ["renewable"], "properties": {"renewable": _TRUE, "expires_in": {"not": _INTEGER}}},
            {"required": ["max_age"], "properties": {"renewable": {"not": _TRUE}, "max_age": _INTEGER}},
        ]
    }

    name = _name("The token's name. Names cannot be reused in a namespace.", required=True)
    role = choice_field("A named set of scopes. A token needs a role, scopes, or both.", "reader", ROLES)
    scopes = scopes_field("The token's scopes, in addition to those of `role`.")
    namespace = _name("Your own namespace, which is also the default.", example="default", load_default=None)
    networks = networks_field("token")
    paths = paths_field("token")
    all_namespaces = all_namespaces_field()
    expires_in = number_field(
        "Seconds until the token expires; if omitted, the maximum that operators have set.",
        86_400,
        maximum=_MAX_SECONDS,
    )
    renewable = flag_field(
        "If true, the token can extend itself, each time by `expires_in`, which is then required.",
        example=True,
    )
    max_age = number_field(
        "With `renewable`: seconds from the creation beyond which no renewal extends the token; if omitted, "
        "the maximum that operators have set, or 10 years.",
        90 * 86_400,
        maximum=_MAX_SECONDS,
    )

    @validates_schema
    def _check_renewal(self, data: dict[str, Any], **_: object) -> None:
        if data["renewable"] and not data["expires_in"]:
            raise ValidationError({"expires_in": ["Required with `renewable`."]})
        if data["max_age"] and not data["renewable"]:
            raise ValidationError({"max_age": ["Only with `renewable`."]})

    @validates_schema
    def _check_scopes(self, data: dict[str, Any], **_: object) -> None:
        if not data.get("role") and not data.get("scopes"):
            raise ValidationError({"role": ["Either `role` or `scopes` is required."]})
        if set(data.get("scopes", ())) >= SIDES_OF_USE:
            raise ValidationError({"scopes": [f"No token has both {BOTH_SIDES}."]})

    @post_load
    def _grant(self, data: dict[str, Any], **_: object) -> Grant:
        return Grant(
            name=data["name"],
            scopes=ROLES.get(data.get("role", ""), frozenset()) | scopes_named(data.get("scopes", [])),
            namespace=data["namespace"],
            networks=tuple(data["networks"]),
            paths=Paths.of(data["paths"]),
            all_namespaces=data["all_namespaces"],
            lifetime=_time(data["expires_in"]),
            renewable=data["renewable"],
            max_age=_time(data["max_age"]),
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

    state = choice_field("Only tokens in this state; all if omitted.", "active", STATES, load_default=None)
    unused_for = number_field(
        "Only active tokens that were neither created nor used in this many seconds.",
        90 * 86_400,
        maximum=_MAX_SECONDS,
    )
    limit = number_field("Maximum number of tokens; 100 if omitted.", 100, maximum=_MAX_LISTED, default=100)
    cursor = cursor_field("token", _CURSOR, CURSOR_PATTERN)

    @post_load
    def _filter(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        return data | {"unused_for": _time(data["unused_for"])}


class TokenRevocation(Body):
    """A token to revoke."""

    name = _name("The token's name.", required=True)
    cascade = flag_field(_CASCADE)


class OwnRevocation(Body):
    """The options for revoking the token that the request is sent with."""

    cascade = flag_field(_CASCADE)


class Renewal(Body):
    """The options for renewing the token that the request is sent with."""

    expires_in = number_field(
        "Seconds from now until the token expires: at most, and if omitted, those at its creation.",
        86_400,
        maximum=_MAX_SECONDS,
    )

    @post_load
    def _lifetime(self, data: dict[str, Any], **_: object) -> timedelta | None:
        return _time(data["expires_in"])


class NoOptions(Body):
    """An empty object: the operation has no options."""


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
    scopes = texts_field("The token's scopes.", _SCOPES)
    networks = granted_networks("token")
    paths = texts_field("The names of the secrets that the token can reach; empty for all names.", _PATHS)
    all_namespaces = sees_all_field("token")
    created_at = time_field("The token's creation.", _CREATED)
    created_by = text_field("The principal that created the token.", "operator", required=True)
    expires_at = time_field("The token's expiry; null if it has none.", _EXPIRES)
    renewable_until = time_field(_RENEWABLE_UNTIL, _LONGEST)
    revoked_at = time_field("The token's revocation; null if it is not revoked.", None)
    last_used_at = time_field(_LAST_USED_AT, _USED)


class Credential(Reply):
    """A principal and its credential."""

    principal = text_field("Your name in the audit trail.", "ci", required=True)
    kind = text_field("The kind of credential.", "token", shape={"enum": list(KINDS)}, required=True)
    namespace = _name("Your namespace.", example="default", required=True)
    scopes = texts_field("Your scopes.", _SCOPES)
    paths = texts_field(
        "The paths that you are limited to: names of secrets, and prefixes of names that end in `/`; empty "
        "without a limit.",
        ["billing/"],
    )
    networks = granted_networks("credential")
    expires_at = time_field("The credential's expiry; null if it has none.", _EXPIRES)
    role = text_field(
        "The role that your JWT acts with; null without one.", None, required=True, allow_none=True
    )
    renewable = boolean_field("True if the token can be renewed.", example=True, required=True)
    renewable_until = time_field(_RENEWABLE_UNTIL, _LONGEST)
    created_at = time_field("The token's creation; null for a JWT.", _CREATED)
    created_by = text_field(
        "The principal that created the token; null for a JWT.", "operator", required=True, allow_none=True
    )
    last_used_at = time_field(_LAST_USED_AT, _USED)


class TokenPage(Reply):
    """A page of tokens, and the cursor for the next page."""

    tokens = objects_field(
        TokenRecord,
        "In order of name, including expired and revoked ones. A page can be shorter than `limit`, and with "
        "a filter empty, and not the last.",
    )
    cursor = next_cursor_field(_CURSOR, CURSOR_PATTERN)


class Standing(Reply):
    """Something that a revoked token created, which stays in effect."""

    kind = text_field("Its kind.", "role", shape={"enum": standing_kinds()}, required=True)
    name = text_field("Its name, or the ID of a webhook.", "deploy", required=True)


class RevokedToken(Reply):
    """A revoked token."""

    name = _name("The token's name.", required=True)
    revoked = texts_field(
        "Names of the tokens that this request revoked, without those revoked earlier.", ["ci"]
    )
    stays = fields.List(
        fields.Nested(Standing),
        metadata={
            "description": "Only without `cascade`, and if there is any: what the token created, directly, "
            f"and stays in effect; of tokens, at most {MAX_NAMED:,}."
        },
    )


def revocation_of(name: str, done: Revocation) -> dict[str, Any]:
    """Return the reply about the revocation of the token *name*."""
    reply: dict[str, Any] = {"name": name, "revoked": done.revoked}
    # Not if it is empty: some clients refuse fields that they do not know.
    return reply | {"stays": done.stays} if done.stays else reply
