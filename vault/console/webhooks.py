"""The page of webhooks."""

from flask import Blueprint, Response
from marshmallow import fields, validate

from vault.api.document.fields import matches, webhook_url_field
from vault.api.operations.blueprint import current_attempt, current_slot, services
from vault.console.operations import FormBody, answer, arguments, body, operation, page, see_other
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.events.kinds import Kind
from vault.events.webhooks import NewWebhook

blueprint = Blueprint("webhooks", __name__)

_ID_PATTERN = "^[0-9a-f]{16}$"


class _NewWebhook(FormBody):
    """A webhook to create."""

    url = webhook_url_field()
    events = fields.List(
        fields.String(validate=validate.OneOf([kind.value for kind in Kind])),
        required=True,
        validate=validate.Length(1, len(Kind)),
    )


class _Webhook(FormBody):
    """A webhook."""

    webhook_id = fields.String(required=True, validate=matches(_ID_PATTERN, "Must be the ID of a webhook."))


@blueprint.get("/webhooks")
@operation(Action.WEBHOOK_LIST, Scope.WEBHOOK_MANAGE)
def index() -> Response:
    """Return the page of webhooks."""
    return page("webhooks", webhooks=services().webhooks.list(attempt=current_attempt()), kinds=list(Kind))


@blueprint.post("/webhooks/create")
@operation(Action.WEBHOOK_CREATE, Scope.WEBHOOK_MANAGE, is_page=False)
def create() -> Response:
    """Create a webhook, and return its secret to the page's script."""
    asked = body(_NewWebhook)
    new = NewWebhook(url=asked["url"], events=frozenset(map(Kind, asked["events"])))
    created = services().webhooks.create(new, attempt=current_attempt())
    return answer(value=created.secret, message="Verify signatures with this. It is not shown again.")


@blueprint.post("/webhooks/test")
@operation(Action.WEBHOOK_TEST, Scope.WEBHOOK_MANAGE, is_page=False)
def test() -> Response:
    """Send an event now, and return the outcome to the page's script."""
    send = services().webhooks.test(body(_Webhook)["webhook_id"], attempt=current_attempt())
    # The receiver can be slow.
    with current_slot().given_back():
        error = send()
    return answer(message=f"Not accepted: {error}" if error else "Accepted.")


@blueprint.post("/webhooks/delete")
@operation(Action.WEBHOOK_DELETE, Scope.WEBHOOK_MANAGE)
def delete() -> Response:
    """Delete a webhook."""
    services().webhooks.delete(arguments().get("webhook_id", ""), attempt=current_attempt())
    return see_other("console.webhooks.index")
