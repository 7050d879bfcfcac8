"""Webhooks over HTTP, and the schemas of their requests and replies."""

from typing import Any

from marshmallow import fields, post_load, validate

from vault.common.config import validators
from vault.common.errors import GrantRefusedError, LimitReachedError
from vault.common.paths import Paths
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.features.webhooks.errors import WebhookAddressError
from vault.features.webhooks.kinds import kinds
from vault.features.webhooks.webhooks import (
    MAX_WEBHOOKS,
    STATES,
    CreatedWebhook,
    NewWebhook,
    WebhookInfo,
    Webhooks,
)
from vault.service.api.token_schemas import NoOptions, paths_field
from vault.toolkit.document.errors import FORBIDDEN, ErrorDoc
from vault.toolkit.document.fields import (
    Body,
    BoundedList,
    Moment,
    Reply,
    as_sentence,
    boolean_field,
    matches,
    objects_field,
    text_field,
    texts_field,
    time_field,
)
from vault.toolkit.operations.blueprint import Blueprint, current_attempt, current_slot, services
from vault.toolkit.operations.replies import reply_memory

URL = "https://hooks.example.com/vault"
ID_PATTERN = "^[0-9a-f]{16}$"

_MAX_URL_LENGTH = 2_048

blueprint = Blueprint(
    "Webhooks",
    __name__,
    url_prefix="/vault/webhook",
    description="Send events about secrets, tokens and master keys to URLs, as Standard Webhooks.",
    error_docs={
        "WebhookRefused": ErrorDoc(
            GrantRefusedError("A webhook cannot have more than its creator: paths."), *FORBIDDEN
        ),
        "TooManyWebhooks": ErrorDoc(
            LimitReachedError("There can be at most 20 webhooks in a namespace, and 50 in all.")
        ),
        "InvalidWebhook": ErrorDoc(
            WebhookAddressError("The host of the webhook has no public address."), "unprocessable_entity"
        ),
    },
)

#: Maximum bytes of a webhook in a reply, where a byte of a path can take 3.
_WEBHOOK_BYTES = 65_536

_ID = "0f8b2c7d9e1a4b3c"
_EXAMPLE_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - an example
_TIME = "2026-11-24T15:30:00.000Z"


def url_field() -> fields.String:
    """Return the field for the URL of a new webhook, with its documentation."""
    return text_field(
        "The URL that gets the events: https, or http on this machine. Networks that are not public, this "
        "machine included, must be in `WEBHOOK_NETWORKS`.",
        URL,
        shape={"format": "uri"},
        required=True,
        validate=[validate.Length(max=_MAX_URL_LENGTH), as_sentence(validators.public_url)],
    )


def _id_field() -> fields.String:
    return text_field("The webhook's ID.", _ID, shape={"pattern": ID_PATTERN}, required=True)


class NewWebhookSchema(Body):
    """A webhook to create. It cannot exceed the caller's paths, the default for omitted ones."""

    url = url_field()
    events = BoundedList(
        fields.String(validate=validate.OneOf(list(kinds()))),
        max_size=len(kinds()),
        required=True,
        validate=validate.Length(min=1),
        metadata={"description": "The kinds of events.", "example": ["secret.updated", "secret.expiring"]},
    )
    paths = paths_field("webhook")

    @post_load
    def _webhook(self, data: dict[str, Any], **_: object) -> NewWebhook:
        return NewWebhook(url=data["url"], events=frozenset(data["events"]), paths=Paths.of(data["paths"]))


class CreatedWebhookSchema(Reply):
    """A new webhook."""

    webhook_id = _id_field()
    secret = text_field(
        "The secret that verifies its signatures. Only this reply contains it.",
        _EXAMPLE_SECRET,
        required=True,
    )


class WebhookReference(Body):
    """A webhook."""

    webhook_id = fields.String(
        required=True,
        validate=matches(ID_PATTERN, "Must be 16 hexadecimal digits."),
        metadata={"description": "The webhook's ID.", "example": _ID, "pattern": ID_PATTERN},
    )


class WebhookId(Reply):
    """A webhook."""

    webhook_id = _id_field()


class WebhookTest(WebhookId):
    """The result of a test."""

    delivered = boolean_field("True if the receiver accepted the event.", example=True, required=True)
    error = text_field("The reason if it did not; otherwise empty.", "", required=True)


class WebhookRecord(WebhookId):
    """Everything about a webhook except its secret."""

    state = text_field(
        "`active`, `failing`, `dead` after a day of failures, `expired`, or `altered` if someone changed it "
        "in the database. Dead, expired and altered webhooks get no events.",
        "active",
        shape={"enum": list(STATES)},
        required=True,
    )
    url = text_field("The URL that gets the events.", URL, required=True)
    events = texts_field("The kinds of its events.", ["secret.updated"])
    paths = texts_field("The names of its secrets; empty for all names.", ["billing/"])
    created_at = Moment(required=True, allow_none=True, metadata={"example": _TIME})
    created_by = text_field("The principal that created the webhook.", "operator", required=True)
    expires_at = time_field("The expiry of its creator's credential; null for none.", None)
    next_attempt_at = time_field("The time of the next attempt after a failure; null for none.", None)
    error = text_field("The reason of the last failure; empty after a delivery.", "", required=True)


class WebhookList(Reply):
    """All webhooks that the caller sees."""

    webhooks = objects_field(WebhookRecord, "In the order of their IDs.")


@blueprint.post("/create")
@blueprint.operation(
    Action.WEBHOOK_CREATE,
    scope=Scope.WEBHOOK_MANAGE,
    refusals=("WebhookRefused", "TooManyWebhooks", "InvalidWebhook"),
)
@blueprint.arguments(
    NewWebhookSchema,
    example={"url": URL, "events": ["secret.updated"], "paths": ["billing/"]},
)
@blueprint.response(200, CreatedWebhookSchema, description="The webhook is created.")
def create_webhook(new: NewWebhook) -> CreatedWebhook:
    """Create a webhook.

    Requires the scope `webhook:manage`. It gets the events of your namespace and paths from now on, until
    your credential expires. Only a webhook without a limit to paths gets events of tokens, and of these only
    one in the namespace `default` gets events of master keys.
    """
    return services().of(Webhooks).create(new, attempt=current_attempt())


@blueprint.post("/list")
@blueprint.operation(Action.WEBHOOK_LIST, scope=Scope.WEBHOOK_MANAGE)
@blueprint.arguments(NoOptions, example={})
@blueprint.response(200, WebhookList, description="The webhooks.")
def list_webhooks(_body: dict[str, Any]) -> dict[str, list[WebhookInfo]]:
    """List webhooks.

    Requires the scope `webhook:manage`. Returns the webhooks of your namespace whose paths are within your
    own.
    """
    with reply_memory(MAX_WEBHOOKS * _WEBHOOK_BYTES):
        return {"webhooks": services().of(Webhooks).list(attempt=current_attempt())}


@blueprint.post("/delete")
@blueprint.operation(Action.WEBHOOK_DELETE, scope=Scope.WEBHOOK_MANAGE, refusals=("WebhookNotFound",))
@blueprint.arguments(WebhookReference, example={"webhook_id": _ID})
@blueprint.response(200, WebhookId, description="The webhook is deleted.")
def delete_webhook(body: dict[str, Any]) -> dict[str, str]:
    """Delete a webhook.

    Requires the scope `webhook:manage`. An event that is being sent can still arrive.
    """
    services().of(Webhooks).delete(**body, attempt=current_attempt())
    return {"webhook_id": body["webhook_id"]}


@blueprint.post("/test")
@blueprint.operation(Action.WEBHOOK_TEST, scope=Scope.WEBHOOK_MANAGE, refusals=("WebhookNotFound",))
@blueprint.arguments(WebhookReference, example={"webhook_id": _ID})
@blueprint.response(200, WebhookTest, description="The event was sent, and accepted or not.")
def test_webhook(body: dict[str, Any]) -> dict[str, Any]:
    """Test a webhook.

    Requires the scope `webhook:manage`. Sends an event `webhook.test` now, and returns whether the receiver
    accepts it.
    """
    send = services().of(Webhooks).test(**body, attempt=current_attempt())
    # The receiver can be slow.
    with current_slot().given_back():
        error = send()
    return {"webhook_id": body["webhook_id"], "delivered": not error, "error": error}
