"""The page of the feature, and the values of the panel."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response

from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.toolkit.pages.operations import operation, page

blueprint = Blueprint("invented", __name__, template_folder="templates")


@blueprint.get("/invented")
@operation(Action.TOKEN_LIST, Scope.TOKEN_MANAGE)
def index() -> Response:
    """Return the page."""
    return page("invented", notes=["water the plants"])


def panel_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the note about the secret of the page."""
    return {"note": f"about <{values['secret']['name']}>"}
