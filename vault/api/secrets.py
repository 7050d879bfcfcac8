"""Secrets over HTTP."""

from typing import Any

from vault.api.blueprint import Blueprint, current_attempt, services
from vault.api.fields import SECRET_ID
from vault.api.secret_schemas import (
    LABELS,
    NAME,
    SECRET,
    DeletedSecret,
    IdempotencyKey,
    ListQuery,
    NewSecretSchema,
    NewVersion,
    PurgedSecret,
    PurgeReference,
    SecretDescription,
    SecretLocation,
    SecretPage,
    SecretReference,
    SecretValue,
    UpdatedSecret,
    VersionReference,
)
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.secrets.requests import NewSecret

_SAME_SECRET = {"secret_id": "$response.body#/secret_id"}


def _leads_to(*operations: str) -> dict[int, Any]:
    """Return what the reply of 200 says of the *operations* that take its id."""
    links = {name: {"operationId": name, "requestBody": _SAME_SECRET} for name in operations}
    return {200: {"links": links}}


blueprint = Blueprint(
    "Secrets", __name__, url_prefix="/vault/secret", description="Keep secrets and get them back."
)

_VALUE = {"secret": SECRET["example"]}
_BY_ID = {"secret_id": SECRET_ID["example"]}
_BY_NAME = {"name": NAME["example"]}
_CREATIONS = {
    "value": {"summary": "A value", "value": _VALUE},
    "once": {
        "summary": "To be read once, within a day",
        "value": {**_VALUE, "max_reads": 1, "ttl_seconds": 86_400},
    },
    "named": {
        "summary": "With a name, which takes a credential, and labels",
        "value": {**_VALUE, **_BY_NAME, "labels": LABELS["example"]},
    },
}


def _references(**more: Any) -> dict[str, Any]:
    return {
        "id": {"summary": "By id", "value": _BY_ID | more},
        "name": {"summary": "By name, with a credential", "value": _BY_NAME | more},
    }


@blueprint.post("/create/")
@blueprint.operation(
    Action.CREATE,
    scope=Scope.SECRET_CREATE,
    refusals=("InvalidSecret", "NameTaken", "SecretTooLarge", "InvalidNewSecret"),
)
@blueprint.arguments(NewSecretSchema, examples=_CREATIONS)
@blueprint.arguments(IdempotencyKey, location="headers")
@blueprint.response(200, SecretLocation, description="The secret and its audit entry are stored durably.")
@blueprint.doc(responses=_leads_to("fetch_secret", "update_secret", "describe_secret", "delete_secret"))
def create_secret(body: dict[str, Any], headers: dict[str, Any]) -> dict[str, str]:
    """Create a secret.

    Encrypts the secret and stores it. The reply comes once both the secret and its audit entry
    are durable. Keep the `secret_id`: it is what fetches the secret.
    """
    new_secret = NewSecret(plaintext=body.pop("secret"), **body)
    return {"secret_id": services().secrets.create(new_secret, **headers, attempt=current_attempt())}


@blueprint.post("/fetch")
@blueprint.operation(Action.FETCH, scope=Scope.SECRET_FETCH, refusals=("SecretNotFound", "InvalidSecretId"))
@blueprint.arguments(VersionReference, examples=_references())
@blueprint.response(200, SecretValue, description="The secret, byte for byte as it was created.")
def fetch_secret(body: dict[str, Any]) -> dict[str, bytes]:
    """Fetch a secret.

    Returns the newest version, or the one that is asked for, once the fetch is in the audit trail. Of a
    secret with `max_reads` each fetch counts, also one whose reply is lost on its way.
    """
    return {"secret": services().secrets.fetch(**body, attempt=current_attempt())}


@blueprint.post("/update")
@blueprint.operation(
    Action.UPDATE,
    scope=Scope.SECRET_UPDATE,
    refusals=("InvalidSecret", "SecretNotFound", "VersionConflict", "SecretTooLarge", "InvalidSecretId"),
)
@blueprint.arguments(NewVersion, examples=_references(**_VALUE, expected_version=1))
@blueprint.response(200, UpdatedSecret, description="The new version is stored durably.")
@blueprint.doc(responses=_leads_to("fetch_secret", "describe_secret"))
def update_secret(body: dict[str, Any]) -> dict[str, Any]:
    """Give a secret a new value.

    The new value is the secret's next version. Those before stay readable by their number, up to the
    operator's limit. Name, labels, expiry and read limit stay as they are.
    """
    secret_id, version = services().changes.update(
        body["reference"],
        body["secret"],
        expected_version=body["expected_version"],
        attempt=current_attempt(),
    )
    return {"secret_id": secret_id, "version": version}


@blueprint.post("/describe")
@blueprint.operation(
    Action.DESCRIBE, scope=Scope.SECRET_DESCRIBE, refusals=("SecretNotFound", "InvalidSecretId")
)
@blueprint.arguments(SecretReference, examples=_references())
@blueprint.response(200, SecretDescription, description="What is known of the secret.")
def describe_secret(body: dict[str, Any]) -> dict[str, Any]:
    """Describe a secret.

    Returns everything but the value. It does not count as a read.
    """
    return services().catalog.describe(body["reference"], attempt=current_attempt())


@blueprint.post("/delete")
@blueprint.operation(Action.DELETE, scope=Scope.SECRET_DELETE, refusals=("SecretNotFound", "InvalidSecretId"))
@blueprint.arguments(SecretReference, examples=_references())
@blueprint.response(200, DeletedSecret, description="Nobody can read it any more.")
@blueprint.doc(responses=_leads_to("restore_secret"))
def delete_secret(body: dict[str, Any]) -> dict[str, Any]:
    """Delete a secret.

    It is gone for readers at once, with all its versions. Until `restorable_until`, which the operator's
    settings decide, `restore` brings it back; it keeps its name until then.
    """
    secret_id, until = services().changes.delete(body["reference"], attempt=current_attempt())
    return {"secret_id": secret_id, "restorable_until": until}


@blueprint.post("/restore")
@blueprint.operation(
    Action.RESTORE, scope=Scope.SECRET_DELETE, refusals=("SecretNotFound", "InvalidSecretId")
)
@blueprint.arguments(SecretReference, examples=_references())
@blueprint.response(200, SecretLocation, description="It can be read again.")
@blueprint.doc(responses=_leads_to("fetch_secret", "update_secret", "delete_secret"))
def restore_secret(body: dict[str, Any]) -> dict[str, str]:
    """Restore a deleted secret.

    Brings it back as it was, with all its versions, while that is possible.
    """
    return {"secret_id": services().changes.restore(body["reference"], attempt=current_attempt())}


@blueprint.post("/purge")
@blueprint.operation(
    Action.PURGE, scope=Scope.SECRET_PURGE, refusals=("SecretNotFound", "NotPurgeable", "InvalidSecretId")
)
@blueprint.arguments(
    PurgeReference,
    examples={
        **_references(),
        "version": {"summary": "One version, by id", "value": {**_BY_ID, "version": 1}},
    },
)
@blueprint.response(200, PurgedSecret, description="It is no longer in the database.")
def purge_secret(body: dict[str, Any]) -> dict[str, Any]:
    """Purge a deleted secret, or a version.

    Destroys an older version of a secret or, without `version`, a deleted secret before its time. It cannot
    be undone, but backups made earlier still hold the value. Needs the scope `secret:purge`; it is never open
    to anonymous callers.
    """
    secret_id = services().changes.purge(**body, attempt=current_attempt())
    return {"secret_id": secret_id, "version": body["version"]}


@blueprint.post("/list")
@blueprint.operation(Action.LIST, scope=Scope.SECRET_LIST, refusals=("InvalidQuery",))
@blueprint.arguments(ListQuery, example={"name_prefix": "billing/", "limit": 100})
@blueprint.response(200, SecretPage, description="Secrets in the order of their names.")
def list_secrets(body: dict[str, Any]) -> dict[str, Any]:
    """List secrets.

    Returns ids, names and labels of your namespace, page by page: hand the `cursor` of a reply to the next
    query, until there is none. Needs the scope `secret:list`; it is never open to anonymous callers.
    """
    secrets, cursor = services().catalog.page(**body, attempt=current_attempt())
    return {"secrets": secrets, "cursor": cursor}
