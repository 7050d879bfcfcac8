"""The page of master keys."""

from flask import Blueprint, Response

from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.features.console.whole import require_all
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.pages.operations import operation, page

blueprint = Blueprint("keys", __name__, template_folder="templates")


@blueprint.get("/keys")
@operation(Action.KEYS_STATUS, Scope.AUDIT_READ)
def index() -> Response:
    """Return the page of master keys, for those who see the whole trail."""
    attempt = current_attempt()
    require_all("Master keys are of all namespaces, and your credential sees only its own.", attempt)
    return page("keys", keys=services().keys.list(attempt=attempt))
