"""Secrets over HTTP."""

from datetime import timedelta
from typing import Any

from vault.common.attributes import ATTRIBUTES, Description
from vault.common.pages import page_bytes
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.core.secrets.metadata import Expiry
from vault.core.secrets.queries import LARGEST_BYTES
from vault.core.secrets.requests import NewSecret
from vault.core.secrets.search import Search
from vault.service.api import batches, deliveries, secret_replies, secret_requests
from vault.service.api.secret_requests import NAME, SECRET
from vault.toolkit.document.errors import ERROR_DOCS
from vault.toolkit.document.fields import SECRET_ID
from vault.toolkit.operations.blueprint import Blueprint, current_attempt, services
from vault.toolkit.operations.replies import MemoryIfLarge, reply_memory


def _links(*operations: str) -> dict[int, Any]:
    """Return OpenAPI links from a reply to the *operations* of which it is a valid body."""
    links = {name: {"operationId": name, "requestBody": "$response.body"} for name in operations}
    return {200: {"links": links}}


blueprint = Blueprint(
    "Secrets", __name__, url_prefix="/vault/secret", description="Store, fetch and manage secrets."
)

_VALUE: dict[str, Any] = {"secret": SECRET["example"]}
_BY_ID: dict[str, Any] = {"secret_id": SECRET_ID["example"]}
_BY_NAME: dict[str, Any] = {"name": NAME["example"]}
_LABELS = ATTRIBUTES[0].example


def _example(summary: str, *, needs_credential: bool = False, **value: Any) -> dict[str, Any]:
    """Return an example body; anonymous callers cannot use one that *needs_credential*."""
    mark = {"x-requires-credential": True} if needs_credential else {}
    return {"summary": summary, "value": value, **mark}


def _references(**more: Any) -> dict[str, Any]:
    return {
        "id": _example("By ID", **_BY_ID, **more),
        "name": _example("By name", **_BY_NAME, **more, needs_credential=True),
    }


_CREATIONS = {
    "value": _example("A value", **_VALUE),
    "once": _example("Readable once, within a day", **_VALUE, max_reads=1, ttl_seconds=86_400),
    "named": _example("With a name and labels", **_VALUE, **_BY_NAME, labels=_LABELS, needs_credential=True),
    "canary": _example("A canary", **_VALUE, name="ops/root-password", canary=True, needs_credential=True),
}
_CREATE_BATCHES = {
    "values": _example("Two values", secrets=[_VALUE, {"secret": "b3RoZXI=", "max_reads": 1}]),
    "named": _example(
        "With a name", secrets=[{**_VALUE, **_BY_NAME}, {"secret": "b3RoZXI="}], needs_credential=True
    ),
}
_DELIVERY = {**_BY_NAME, "delivery": deliveries.EXAMPLE}
_FETCHES = {**_references(), "delivery": _example("For a task", **_DELIVERY, needs_credential=True)}
_FETCH_BATCHES = {
    "ids": _example("By ID", secrets=[_BY_ID, {**_BY_ID, "version": 1}]),
    "names": _example("By name", secrets=[_BY_NAME, {"name": "billing/api-key"}], needs_credential=True),
    "prefix": _example("By name prefix", name_prefix="billing/", needs_credential=True),
    "delivery": _example("For a task", secrets=[_DELIVERY], needs_credential=True),
}
_LISTS = {
    "all": _example("All secrets", limit=100),
    "prefix": _example("By name prefix", name_prefix="billing/", limit=100),
    "expiring": _example("Expiring in 30 days", search="db", expires_within=2_592_000),
}
_NOT_FOUND = {"problem": ERROR_DOCS["SecretNotFound"].example}


@blueprint.post("/create")
@blueprint.operation(
    Action.CREATE,
    scope=Scope.SECRET_CREATE,
    refusals=("InvalidSecret", "OutsidePaths", "NameTaken", "SecretTooLarge", "InvalidNewSecret"),
)
@blueprint.arguments(secret_requests.NewSecretSchema, examples=_CREATIONS)
@blueprint.arguments(secret_requests.IdempotencyKey, location="headers")
@blueprint.response(
    200, secret_replies.CreatedSecret, description="The secret and its audit entry are stored durably."
)
def create_secret(body: dict[str, Any], headers: dict[str, Any]) -> dict[str, str]:
    """Create a secret.

    Encrypts the secret and stores it. The reply is sent once both the secret and its audit entry are durable.
    Keep the `secret_id`: unless you give the secret a name, it is the only way to it.
    """
    new_secret = NewSecret(plaintext=body.pop("secret"), **body)
    warning = batches.canary_warning(new_secret)
    secret_id = services().secrets.create(new_secret, **headers, attempt=current_attempt())
    return {"secret_id": secret_id, **warning}


@blueprint.post("/create-batch")
@blueprint.operation(Action.CREATE, scope=Scope.SECRET_CREATE, refusals=("InvalidNewBatch",), is_batch=True)
@blueprint.arguments(secret_requests.CreateBatch, examples=_CREATE_BATCHES)
@blueprint.arguments(secret_requests.IdempotencyKey, location="headers")
@blueprint.response(
    200,
    secret_replies.CreatedBatch,
    description="The secrets and their audit entries are stored durably, except those with a problem.",
    example={"secrets": [_BY_ID, {"problem": ERROR_DOCS["NameTaken"].example}]},
)
def create_secrets(body: dict[str, Any], headers: dict[str, Any]) -> dict[str, Any]:
    """Create a batch of secrets.

    Creates up to 100 secrets in one request, each as *Create a secret* does, with its own audit entry. If a
    secret cannot be created, for example because its name is taken, the reply has a `problem` in its place,
    and the others are created. The `Idempotency-Key` covers the whole batch: a retry returns the same IDs and
    problems. For the rate limit, each secret counts as a request.
    """
    return batches.create(body["secrets"], **headers)


@blueprint.post("/fetch")
@blueprint.operation(
    Action.FETCH,
    scope=Scope.SECRET_FETCH,
    refusals=("SecretNotFound", "InvalidSecretId", "FetchRefused"),
)
@blueprint.arguments(secret_requests.VersionReference, examples=_FETCHES)
@blueprint.response(
    200, secret_replies.SecretValue, description="The secret, byte for byte as it was created."
)
def fetch_secret(body: dict[str, Any]) -> dict[str, bytes]:
    """Fetch a secret.

    Returns the newest version or the requested one, once the fetch is in the audit trail. If the secret has
    `max_reads`, every fetch counts, even one whose reply is lost. With `delivery`, which requires the scope
    `secret:deliver` as well, the audit entry has the task for which you fetch.
    """
    attempt = current_attempt()
    deliveries.record(body, attempt)
    deliveries.require_wanted(body["reference"], attempt)
    with MemoryIfLarge() as memory:
        return {"secret": services().secrets.fetch(**body, reserve=memory.reserve, attempt=attempt)}


@blueprint.post("/fetch-batch")
@blueprint.operation(Action.FETCH, scope=Scope.SECRET_FETCH, refusals=("InvalidBatch",), is_batch=True)
@blueprint.arguments(secret_requests.FetchBatch, examples=_FETCH_BATCHES)
@blueprint.response(
    200,
    secret_replies.FetchedBatch,
    description="The secrets, except those with a problem.",
    example={"secrets": [{**_BY_ID, **_BY_NAME, "version": 1, **_VALUE}, _NOT_FOUND]},
)
def fetch_secrets(body: dict[str, Any]) -> dict[str, Any]:
    """Fetch a batch of secrets.

    Returns up to 100 secrets in one request, each as *Fetch a secret* does, with its own audit entry and read
    limit. If a secret cannot be fetched, the reply has a `problem` in its place, and the others are returned.
    If an item has a `delivery` and you lack the scope `secret:deliver`, the whole batch is refused.
    Instead of references, you can send a prefix of names, which requires the scope `secret:list` as well. For
    the rate limit, each secret counts as a request.
    """
    if "name_prefix" in body:
        return batches.fetch_by_prefix(body["name_prefix"])
    return batches.fetch(body["secrets"])


@blueprint.post("/update")
@blueprint.operation(
    Action.UPDATE,
    scope=Scope.SECRET_UPDATE,
    refusals=("InvalidSecret", "SecretNotFound", "VersionConflict", "SecretTooLarge", "InvalidChange"),
)
@blueprint.arguments(secret_requests.NewVersion, examples=_references(**_VALUE, expected_version=1))
@blueprint.response(200, secret_replies.UpdatedSecret, description="The new version is stored durably.")
@blueprint.doc(responses=_links("fetch_secret"))
def update_secret(body: dict[str, Any]) -> dict[str, Any]:
    """Update a secret.

    Stores the new value as the secret's next version. Earlier versions stay readable by their number, up to a
    limit that operators set. Name, labels, expiry and read limit do not change.
    """
    written = services().changes.update(
        body["reference"],
        body["secret"],
        expected_version=body["expected_version"],
        attempt=current_attempt(),
    )
    return {"secret_id": written.secret_id, "version": written.version}


@blueprint.post("/update-metadata")
@blueprint.operation(
    Action.UPDATE_METADATA, scope=Scope.SECRET_UPDATE, refusals=("SecretNotFound", "InvalidChange")
)
@blueprint.arguments(secret_requests.NewMetadata, examples=_references(labels=_LABELS, ttl_seconds=2_592_000))
@blueprint.response(
    200, secret_replies.SecretLocation, description="The new labels and expiry are stored durably."
)
@blueprint.doc(responses=_links("describe_secret"))
def update_secret_metadata(body: dict[str, Any]) -> dict[str, str]:
    """Change a secret's labels or expiry.

    Applies to all versions of the secret. Its name and read limit cannot be changed. If operators keep
    deleted secrets for a time, an earlier expiry than the present one, and than the end of that time from
    now, requires the scope `secret:purge` as well: the reply is 403, or 401 without a credential.
    """
    ttl_seconds = body["ttl_seconds"]
    is_described = any(body[one.name] is not None for one in ATTRIBUTES)
    secret = services().metadata.change(
        body["reference"],
        described=(lambda present: present.changed(body)) if is_described else None,
        expiry=Expiry(ttl_seconds=ttl_seconds) if ttl_seconds or body["never_expires"] else None,
        # Of a feature.
        rebound=body.get("use_rules"),
        attempt=current_attempt(),
    )
    return {"secret_id": secret.id}


@blueprint.post("/describe")
@blueprint.operation(
    Action.DESCRIBE, scope=Scope.SECRET_DESCRIBE, refusals=("SecretNotFound", "InvalidSecretId")
)
@blueprint.arguments(secret_requests.SecretReference, examples=_references())
@blueprint.response(200, secret_replies.SecretDescription, description="The description of the secret.")
def describe_secret(body: dict[str, Any]) -> dict[str, Any]:
    """Describe a secret.

    Returns everything except the value. This does not count as a fetch.
    """
    found = services().queries.describe(body["reference"], attempt=current_attempt())
    return found | {"recovery_days": services().changes.retention.recovery.days}


@blueprint.post("/delete")
@blueprint.operation(Action.DELETE, scope=Scope.SECRET_DELETE, refusals=("SecretNotFound", "InvalidSecretId"))
@blueprint.arguments(secret_requests.SecretReference, examples=_references())
@blueprint.response(200, secret_replies.DeletedSecret, description="The secret can no longer be read.")
def delete_secret(body: dict[str, Any]) -> dict[str, Any]:
    """Delete a secret.

    The secret becomes unreadable immediately, with all its versions. Until `restorable_until`, `restore`
    brings it back, and its name stays in use. Operators set the length of this period.
    """
    secret_id, until = services().changes.delete(body["reference"], attempt=current_attempt())
    return {"secret_id": secret_id, "restorable_until": until}


@blueprint.post("/restore")
@blueprint.operation(
    Action.RESTORE, scope=Scope.SECRET_DELETE, refusals=("SecretNotFound", "InvalidSecretId")
)
@blueprint.arguments(secret_requests.SecretReference, examples=_references())
@blueprint.response(200, secret_replies.SecretLocation, description="The secret can be read again.")
@blueprint.doc(responses=_links("fetch_secret", "describe_secret", "delete_secret"))
def restore_secret(body: dict[str, Any]) -> dict[str, str]:
    """Restore a deleted secret.

    Brings the secret back as it was, with all its versions, until its `restorable_until`.
    """
    return {"secret_id": services().changes.restore(body["reference"], attempt=current_attempt())}


@blueprint.post("/purge")
@blueprint.operation(
    Action.PURGE, scope=Scope.SECRET_PURGE, refusals=("SecretNotFound", "NotPurgeable", "InvalidSecretId")
)
@blueprint.arguments(
    secret_requests.PurgeReference,
    examples={**_references(), "version": _example("One version, by ID", **_BY_ID, version=1)},
)
@blueprint.response(
    200, secret_replies.PurgedSecret, description="The secret or version is no longer in the database."
)
def purge_secret(body: dict[str, Any]) -> dict[str, Any]:
    """Purge a deleted secret, or a version.

    Permanently destroys an older version of a secret or, without `version`, a deleted secret before its
    `restorable_until`. Earlier backups still contain the value. Requires the scope `secret:purge`, which
    anonymous callers never have.
    """
    reference, version, attempt = body["reference"], body["version"], current_attempt()
    if version is None:
        secret_id = services().changes.purge(reference, attempt=attempt)
    else:
        secret_id = services().versions.purge_older(reference, version, attempt=attempt)
    return {"secret_id": secret_id, "version": version}


@blueprint.post("/list")
@blueprint.operation(Action.LIST, scope=Scope.SECRET_LIST, refusals=("InvalidQuery",))
@blueprint.arguments(secret_requests.ListQuery, examples=_LISTS)
@blueprint.response(200, secret_replies.SecretPage, description="Secrets in order of name.")
def list_secrets(body: dict[str, Any]) -> dict[str, Any]:
    """List secrets.

    Returns the IDs, names and labels of the secrets in your namespace, page by page: send each reply's
    `cursor` with the next query until it is null. Requires the scope `secret:list`, which anonymous callers
    never have. With `search` or `expires_within`, a page ends early after a second of searching, and can be
    empty although more follow.
    """
    queries, attempt = services().queries, current_attempt()
    query, seconds = body["search"], body["expires_within"]
    search = Search(
        text=query,
        folder=body["name_prefix"],
        description=Description.of(body),
        deleted=body["deleted"],
        expires_within=timedelta(seconds=seconds) if seconds else None,
    )
    find = queries.search if query or seconds else queries.page
    with reply_memory(page_bytes(body["limit"], LARGEST_BYTES)):
        secrets, cursor = find(search, cursor=body["cursor"], limit=body["limit"], attempt=attempt)
        return {"secrets": secrets, "cursor": cursor}
