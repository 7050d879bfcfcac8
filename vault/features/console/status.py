"""The page of the installation's status."""

from flask import Blueprint, Response

from vault.common.outcomes import Status
from vault.common.turns import Turns
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.core.status import gravest
from vault.features.console.whole import require_all
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.pages.operations import operation, page

blueprint = Blueprint("status", __name__, template_folder="templates")

#: It reads all summaries of the trail, and every person who looks can ask for any number.
_LOOKS = Turns(3, seconds=5.0)


@blueprint.get("/status")
@operation(Action.STATUS, Scope.AUDIT_READ)
def index() -> Response:
    """Return the page of the installation's status, for those who see the whole trail."""
    attempt = current_attempt()
    require_all("The status is of all namespaces, and your credential sees only its own.", attempt)
    with _LOOKS:
        lines = services().overview.lines()
    attempt.finish(Status.SUCCESS)
    return page("status", lines=lines, gravest=gravest(lines))
