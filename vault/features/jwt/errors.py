"""Refusals about issuers of JWTs and about roles."""

from typing import ClassVar

from vault.core.errors.base import AccessDeniedError, MissingError, RefusedInputError
from vault.core.errors.refusal import Refusal


class IssuerTakenError(RefusedInputError):
    """Another issuer has the name, or the `iss` and audience, of a new one; the message says which."""

    refusal: ClassVar = Refusal(
        409,
        "Issuer taken",
        page=(
            "An issuer has this name, or this iss and audience, or another request is creating it. The name "
            "`default` is reserved for the issuer in the settings. Choose another name, or delete that "
            "issuer."
        ),
        hint="choose others, or delete that issuer: see `secret-manager issuers list`",
    )


class IssuerNotFoundError(MissingError):
    """No issuer has this name."""

    message = "Issuer not found"
    refusal: ClassVar = Refusal(
        404,
        "Issuer not found",
        page="No issuer of JWTs has this name.",
        hint="run `secret-manager issuers list` to see all names",
    )


class IssuerInUseError(RefusedInputError):
    """An issuer to delete has roles."""

    message = "The issuer has roles."
    remedy = "Delete them first, or use force."
    refusal: ClassVar = Refusal(
        409,
        "Issuer in use",
        page="Roles refer to the issuer, possibly in other namespaces. Delete them first.",
        hint="delete them with `secret-manager roles delete`, or add --force",
    )


class RoleNameTakenError(RefusedInputError):
    """A role of the namespace, or a pending one, has the name of a new role; the message says which."""

    refusal: ClassVar = Refusal(
        409,
        "Role name taken",
        page=(
            "A role of the namespace has this name, or another request is creating one with it. Choose "
            "another name, or delete that role."
        ),
        hint=(
            "choose another name, or delete that one: see `secret-manager roles list`, also for orphaned ones"
        ),
    )


class RoleNotFoundError(MissingError):
    """No role that the principal can see has this name."""

    message = "Role not found"
    refusal: ClassVar = Refusal(
        404,
        "Role not found",
        page="No role of the caller's namespace and paths has this name.",
        hint="run `secret-manager roles list` to see all names",
    )


class RoleTooBroadError(AccessDeniedError):
    """Anyone could satisfy the conditions of a new role; the message says why."""

    refusal: ClassVar = Refusal(
        403,
        "Role too broad",
        page=(
            "Anyone could satisfy the conditions of the role: it has none, or anyone can get a JWT from its "
            "issuer and no condition says whose JWT it must be. Add such a condition, for example on "
            "repository."
        ),
    )
