"""Refusals about issuers of JWTs and about roles."""

from vault.common.errors.base import AccessDeniedError, MissingError, Refusal, RefusedInputError


class IssuerTakenError(RefusedInputError):
    """An issuer has this name, or this iss and audience, or another request is creating it.

    The name `default` is reserved for the issuer in the settings. Choose another name, or delete that
    issuer.
    """

    refusal = Refusal(409, hint="choose others, or delete that issuer: see `secret-manager issuers list`")


class IssuerNotFoundError(MissingError):
    """No issuer of JWTs has this name."""

    message = "Issuer not found"
    refusal = Refusal(404, hint="run `secret-manager issuers list` to see all names")


class IssuerInUseError(RefusedInputError):
    """Roles refer to the issuer, possibly in other namespaces. Delete them first."""

    message = "The issuer has roles."
    remedy = "Delete them first, or use force."
    refusal = Refusal(409, hint="delete them with `secret-manager roles delete`, or add --force")


class RoleNameTakenError(RefusedInputError):
    """A role of the namespace has this name, or another request is creating one with it.

    Choose another name, or delete that role.
    """

    refusal = Refusal(
        409,
        hint=(
            "choose another name, or delete that one: see `secret-manager roles list`, also for orphaned ones"
        ),
    )


class RoleNotFoundError(MissingError):
    """No role of the caller's namespace and paths has this name."""

    message = "Role not found"
    refusal = Refusal(404, hint="run `secret-manager roles list` to see all names")


class RoleTooBroadError(AccessDeniedError):
    """Anyone could satisfy the conditions of a new role; the message says why."""

    refusal = Refusal(
        403,
        page=(
            "Anyone could satisfy the conditions of the role: it has none, or anyone can get a JWT from its "
            "issuer and no condition says whose JWT it must be. Add such a condition, for example on "
            "repository."
        ),
    )
