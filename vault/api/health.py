"""Health over HTTP: for orchestrators and load balancers."""

from http import HTTPStatus
from typing import Any

import flask_smorest
from flask import Response, current_app
from marshmallow import fields

from vault.api.blueprint import services
from vault.api.errors import problem
from vault.api.fields import Reply, text_field

blueprint = flask_smorest.Blueprint(
    "Health", __name__, url_prefix="/health", description="For orchestrators and load balancers."
)

#: Key of the application's configuration: what `ready` warns of.
WARNINGS = "WARNINGS"
NO_AUTHENTICATION = (
    "AUTH_ENABLED is off: anyone who can reach the service and knows an ID can read that secret"
)


class Healthy(Reply):
    """All is well."""

    status = text_field("Always `ok`.", "ok", required=True)


class Ready(Healthy):
    """The service can create and fetch."""

    warnings = fields.List(
        fields.String(metadata={"example": NO_AUTHENTICATION}),
        metadata={"description": "Settings that weaken the protection of secrets; absent if there are none."},
    )


@blueprint.get("/live")
@blueprint.doc(operationId="live")
@blueprint.response(HTTPStatus.OK, Healthy, description="The process answers.")
def live() -> dict[str, str]:
    """Tell whether the process answers.

    It says nothing about MongoDB: a restart would not bring that back.
    """
    return {"status": "ok"}


@blueprint.get("/ready")
@blueprint.doc(operationId="ready")
@blueprint.response(HTTPStatus.OK, Ready, description="The service can create and fetch.")
@blueprint.alt_response(HTTPStatus.SERVICE_UNAVAILABLE, "NotReady")
def ready() -> dict[str, Any] | Response:
    """Tell whether the service can create and fetch.

    When it cannot, `errors` names each failing check. When it can, `warnings` names settings that weaken
    the protection of secrets.
    """
    failures = services().health.failures()
    if failures:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "The service is not ready.", errors=failures)
    warnings = current_app.config[WARNINGS]
    return {"status": "ok", "warnings": warnings} if warnings else {"status": "ok"}
