"""Secrets over HTTP."""

from typing import Any

from vault.api.blueprint import Blueprint, current_attempt, services
from vault.api.schemas import CreatedSecret, NewSecret, SecretReference, SecretValue
from vault.operations.attempt import Action
from vault.operations.principal import Scope

blueprint = Blueprint(
    "Secrets", __name__, url_prefix="/vault/secret", description="Keep secrets and get them back."
)


@blueprint.post("/create/")
@blueprint.operation(Action.CREATE, scope=Scope.SECRET_CREATE, refusals=("InvalidSecret", "SecretTooLarge"))
@blueprint.arguments(NewSecret)
@blueprint.response(200, CreatedSecret, description="The secret and its audit entry are stored durably.")
def create_secret(body: dict[str, Any]) -> dict[str, str]:
    """Create a secret.

    Encrypts the secret and stores it. The reply comes once both the secret and its audit entry
    are durable. Keep the `secret_id`: it is what fetches the secret.
    """
    return {"secret_id": services().secrets.create(body["secret"], attempt=current_attempt())}


@blueprint.post("/fetch")
@blueprint.operation(Action.FETCH, scope=Scope.SECRET_FETCH, refusals=("SecretNotFound", "InvalidSecretId"))
@blueprint.arguments(SecretReference)
@blueprint.response(200, SecretValue, description="The secret, byte for byte as it was created.")
def fetch_secret(body: dict[str, Any]) -> dict[str, bytes]:
    """Fetch a secret.

    Returns the secret exactly as it was created, once the fetch is in the audit trail.
    """
    return {"secret": services().secrets.fetch(body["secret_id"], attempt=current_attempt())}
