"""Health over HTTP: for orchestrators and load balancers."""

from http import HTTPStatus

import flask_smorest
from flask import Response

from vault.api.blueprint import services
from vault.api.fields import Reply, a_text
from vault.api.problems import problem

blueprint = flask_smorest.Blueprint(
    "Health", __name__, url_prefix="/health", description="For orchestrators and load balancers."
)


class Healthy(Reply):
    """All is well."""

    status = a_text("Always `ok`.", "ok", required=True)


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
@blueprint.response(HTTPStatus.OK, Healthy, description="The service can create and fetch.")
@blueprint.alt_response(HTTPStatus.SERVICE_UNAVAILABLE, "NotReady")
def ready() -> dict[str, str] | Response:
    """Tell whether the service can create and fetch.

    When it cannot, `errors` names each failing check.
    """
    failures = services().health.failures()
    if failures:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, "The service is not ready.", errors=failures)
    return {"status": "ok"}
