"""Roles for JWTs over HTTP, and the schemas of their requests and replies."""

from datetime import timedelta
from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from vault.common.errors import GrantRefusedError, RevocationRefusedError
from vault.common.paths import Paths
from vault.common.text import ONE_LINE_PATTERN
from vault.core.attempt import Action
from vault.core.principal import Scope, scopes_named
from vault.features.jwt.claims import (
    KEY_PATTERN,
    MAX_ASTERISKS,
    MAX_CONDITIONS,
    MAX_TOTAL_BYTES,
    MAX_VALUE_LENGTH,
    are_small,
    is_key,
)
from vault.features.jwt.directory import MAX_ROLES
from vault.features.jwt.errors import RoleNameTakenError
from vault.features.jwt.roles import MAX_AGE, STATES, NewRole, RoleInfo, Roles
from vault.service.api.token_schemas import (
    all_namespaces_field,
    granted_networks,
    networks_field,
    paths_field,
    scopes_field,
    sees_all_field,
)
from vault.toolkit.document.errors import FORBIDDEN, ErrorDoc
from vault.toolkit.document.fields import (
    Body,
    BoundedDict,
    Moment,
    Reply,
    choice_field,
    integer_field,
    mapping_field,
    name_field,
    number_field,
    objects_field,
    one_line,
    text_field,
    texts_field,
    time_field,
)
from vault.toolkit.operations.blueprint import Blueprint, current_attempt, services
from vault.toolkit.operations.replies import reply_memory

blueprint = Blueprint(
    "Roles",
    __name__,
    url_prefix="/vault/role",
    description="Give JWTs rights by their claims: CI jobs and workloads need no stored credential.",
    error_docs={
        "RoleGrantRefused": ErrorDoc(
            GrantRefusedError("A role cannot have more than its creator: scopes."),
            "role_too_broad",
            *FORBIDDEN,
        ),
        "RoleDeletionRefused": ErrorDoc(
            RevocationRefusedError("This role has more than yours: scopes."), *FORBIDDEN
        ),
        "RoleNameTaken": ErrorDoc(
            RoleNameTakenError("Role name already used in this namespace."), "limit_reached"
        ),
    },
)

_CLAIMS = {"repository": "acme/api", "ref": "refs/heads/main"}
_CLAIM_GLOBS = {"environment": "prod-*"}
_NAME = "api-main"

_LIMITS = f"Conditions can have {MAX_TOTAL_BYTES} bytes together, and a glob {MAX_ASTERISKS} asterisks."
#: Bytes of a role in a reply, about.
_ROLE_BYTES = 5_000


def _key(text: str) -> None:
    if not is_key(text):
        raise ValidationError("Must be a claim, or a path to one such as /kubernetes.io/namespace.")


def _conditions(description: str, example: dict[str, str]) -> BoundedDict:
    """Return the field for conditions, by their claims."""
    return BoundedDict(
        max_size=MAX_CONDITIONS,
        too_many=f"Longer than maximum length {MAX_CONDITIONS}.",
        keys=fields.String(validate=_key),
        values=fields.String(
            validate=[validate.Length(1, MAX_VALUE_LENGTH), one_line],
            metadata={"pattern": ONE_LINE_PATTERN},
        ),
        load_default={},
        metadata={
            "description": description,
            "example": example,
            "x-propertyNames": {"pattern": KEY_PATTERN},
        },
    )


class NewRoleSchema(Body):
    """A role to create. It cannot exceed the caller's grant, the default for omitted fields."""

    name = name_field("The role's name, unique in its namespace.", example=_NAME, required=True)
    issuer = name_field(
        "The name of the issuer of its JWTs; `default` is the one in the settings.",
        example="github",
        required=True,
    )
    claims = _conditions(
        "The claims that a JWT must have, with exactly these values. A key such as "
        "`/kubernetes.io/namespace` is a path to a nested claim.",
        _CLAIMS,
    )
    claim_globs = _conditions(
        "The same, with values in which `*` stands for any characters, including slashes.", _CLAIM_GLOBS
    )
    scopes = scopes_field("The role's scopes.", required=True, validate=validate.Length(min=1))
    namespace = name_field(
        "The role's namespace, which must be your own. It can be omitted.",
        example="default",
        load_default=None,
    )
    paths = paths_field("role", example=["acme/api/"])
    all_namespaces = all_namespaces_field()
    networks = networks_field("role")
    max_age = number_field(
        "Seconds after the claim `iat` until which a JWT is valid; if omitted, a day.",
        3_600,
        maximum=int(MAX_AGE.total_seconds()),
    )

    @post_load
    def _role(self, data: dict[str, Any], **_: object) -> NewRole:
        new = NewRole(
            name=data["name"],
            issuer=data["issuer"],
            claims=tuple(f"{key}={value}" for key, value in data["claims"].items()),
            claim_globs=tuple(f"{key}={value}" for key, value in data["claim_globs"].items()),
            scopes=scopes_named(data["scopes"]),
            namespace=data["namespace"],
            paths=Paths.of(data["paths"]),
            all_namespaces=data["all_namespaces"],
            networks=tuple(data["networks"]),
            max_age=timedelta(seconds=data["max_age"]) if data["max_age"] else MAX_AGE,
        )
        if not are_small(new.claims, new.claim_globs):
            raise ValidationError({"claims": [_LIMITS]})
        return new


class RoleQuery(Body):
    """A filter for roles; by default all of them."""

    state = choice_field("Only roles in this state; all if omitted.", "active", STATES, load_default=None)


class RoleReference(Body):
    """A role to delete."""

    name = name_field("The role's name.", example=_NAME, required=True)


class RoleName(Reply):
    """A role."""

    name = name_field("The role's name.", example=_NAME, required=True)


class RoleRecord(Reply):
    """Everything about a role."""

    name = name_field("The role's name.", example=_NAME, required=True)
    state = text_field(
        "`active`, `expired`, `orphaned` if its issuer is gone, or `altered` if someone changed it in the "
        "database. Only active roles are valid.",
        "active",
        shape={"enum": list(STATES)},
        required=True,
    )
    namespace = name_field("The role's namespace.", example="default", required=True)
    issuer = text_field("The name of the issuer of its JWTs.", "github", required=True)
    claims = mapping_field("The claims that a JWT must have.", _CLAIMS)
    claim_globs = mapping_field("The claims that must match a value with `*`.", _CLAIM_GLOBS)
    scopes = texts_field("The role's scopes.", [Scope.SECRET_FETCH])
    paths = texts_field(
        "The names of the secrets that the role can reach; empty for all names.", ["acme/api/"]
    )
    all_namespaces = sees_all_field("role")
    networks = granted_networks("role")
    max_age = integer_field("The longest age of a JWT in seconds.", 3_600, required=True, allow_none=True)
    created_at = Moment(required=True, allow_none=True, metadata={"example": "2026-11-24T15:30:00.000Z"})
    created_by = text_field("The principal that created the role.", "operator", required=True)
    expires_at = time_field("The end of the creator's credential; null for none.", None)


class RoleList(Reply):
    """The roles of a namespace."""

    roles = objects_field(RoleRecord, "In order of name.")


_CREATIONS = {
    "github": {
        "summary": "For one branch of a GitHub repository",
        "value": {
            "name": _NAME,
            "issuer": "github",
            "claims": {"repository": "acme/api", "ref": "refs/heads/main"},
            "scopes": [Scope.SECRET_FETCH],
            "paths": ["acme/api/"],
        },
    },
    "kubernetes": {
        "summary": "For one service account of a Kubernetes cluster",
        "value": {
            "name": "billing",
            "issuer": "cluster",
            "claims": {
                "/kubernetes.io/namespace": "billing",
                "/kubernetes.io/serviceaccount/name": "api",
            },
            "scopes": [Scope.SECRET_FETCH],
            "paths": ["billing/"],
            "max_age": 3_600,
        },
    },
}


@blueprint.post("/create")
@blueprint.operation(
    Action.ROLE_CREATE,
    scope=Scope.TOKEN_MANAGE,
    refusals=("RoleGrantRefused", "IssuerNotFound", "RoleNameTaken"),
)
@blueprint.arguments(NewRoleSchema, examples=_CREATIONS)
@blueprint.response(200, RoleName, description="The role is valid.")
def create_role(new: NewRole) -> dict[str, str]:
    """Create a role.

    Requires the scope `token:manage`. The new role is in your namespace. Its scopes, paths and networks
    cannot exceed your own, and it ends when your credential expires. A JWT of the issuer whose claims satisfy
    all conditions has the role's rights, not those of its own `scope`. A role for the issuer in the settings
    requires every scope, in the namespace `default`, without a limit to paths or networks.
    """
    services().of(Roles).create(new, attempt=current_attempt())
    return {"name": new.name}


@blueprint.post("/list")
@blueprint.operation(Action.ROLE_LIST, scope=Scope.TOKEN_MANAGE)
@blueprint.arguments(RoleQuery)
@blueprint.response(200, RoleList, description="All roles that you can see.")
def list_roles(body: dict[str, Any]) -> dict[str, list[RoleInfo]]:
    """List roles.

    Requires the scope `token:manage`. Returns the roles of your namespace whose paths are within your own.
    """
    with reply_memory(MAX_ROLES * _ROLE_BYTES):
        return {"roles": services().of(Roles).list(body["state"], attempt=current_attempt())}


@blueprint.post("/delete")
@blueprint.operation(
    Action.ROLE_DELETE, scope=Scope.TOKEN_MANAGE, refusals=("RoleDeletionRefused", "RoleNotFound")
)
@blueprint.arguments(RoleReference, example={"name": _NAME})
@blueprint.response(200, RoleName, description="The role is deleted.")
def delete_role(body: dict[str, Any]) -> dict[str, str]:
    """Delete a role.

    Requires the scope `token:manage`, and every scope and network of the role. Within 5 seconds, no JWT acts
    with it.
    """
    services().of(Roles).delete(body["name"], attempt=current_attempt())
    return {"name": body["name"]}
