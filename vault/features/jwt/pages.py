"""The page of roles."""

from flask import Blueprint, Response

from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.features.jwt.roles import Roles
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.operations.replies import reply_memory
from vault.toolkit.pages.operations import arguments, operation, page, see_other

blueprint = Blueprint("roles", __name__, template_folder="templates")

#: The most that all roles take.
_ROLES_BYTES = 1_048_576


@blueprint.get("/roles")
@operation(Action.ROLE_LIST, Scope.TOKEN_MANAGE)
def index() -> Response:
    """Return the page of the roles for JWTs."""
    with reply_memory(_ROLES_BYTES):
        return page("roles", roles=services().of(Roles).list(attempt=current_attempt()))


@blueprint.post("/roles/delete")
@operation(Action.ROLE_DELETE, Scope.TOKEN_MANAGE)
def delete() -> Response:
    """Delete a role."""
    services().of(Roles).delete(arguments().get("name", ""), attempt=current_attempt())
    return see_other("console.roles.index")
