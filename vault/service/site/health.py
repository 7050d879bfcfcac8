"""Health checks over HTTP, for orchestrators and load balancers."""

from http import HTTPStatus
from typing import Any

import flask_smorest
from flask import current_app
from marshmallow import fields

from vault.common.errors import NotReadyError
from vault.toolkit.document.errors import responses
from vault.toolkit.document.fields import Reply, text_field
from vault.toolkit.document.headers import ALWAYS, references
from vault.toolkit.operations.blueprint import services

blueprint = flask_smorest.Blueprint(
    "Health",
    __name__,
    url_prefix="/health",
    description="Health checks for orchestrators and load balancers.",
)

#: Key of the application's configuration: the warnings in the replies of `ready`.
WARNINGS = "WARNINGS"
NO_AUTHENTICATION = (
    "AUTH_ENABLED is off: anyone who can reach the service and knows an ID can read that secret"
)


class Healthy(Reply):
    """The check passed."""

    status = text_field("Always `ok`.", "ok", shape={"enum": ["ok"]}, required=True)


class Ready(Healthy):
    """The service can create and fetch secrets."""

    warnings = fields.List(
        fields.String(metadata={"example": NO_AUTHENTICATION}),
        metadata={
            "description": "What weakens the protection of secrets, such as a setting, a MongoDB whose loss "
            "would stop the service, or clocks that differ; absent if nothing does."
        },
    )


@blueprint.get("/live")
@blueprint.doc(operationId="live", security=[], responses=responses())
@blueprint.response(
    HTTPStatus.OK, Healthy, description="The process is running.", headers=references(*ALWAYS)
)
def live() -> dict[str, str]:
    """Check that the process is running.

    This does not check MongoDB, because restarting the process would not repair MongoDB.
    """
    return {"status": "ok"}


@blueprint.get("/ready")
@blueprint.doc(operationId="ready", security=[], responses=responses("NotReady"))
@blueprint.response(
    HTTPStatus.OK,
    Ready,
    description="The service can create and fetch secrets.",
    headers=references(*ALWAYS),
)
def ready() -> dict[str, Any]:
    """Check that the service can create and fetch secrets.

    If it cannot, `errors` names each failing check. If it can, `warnings` names what weakens the protection
    of secrets.
    """
    readiness = services().health.readiness()
    if readiness.failures:
        raise NotReadyError(readiness.failures)
    warnings = [*current_app.config[WARNINGS], *readiness.warnings]
    return {"status": "ok", "warnings": warnings} if warnings else {"status": "ok"}
