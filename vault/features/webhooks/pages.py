"""The page of webhooks."""

from flask import Blueprint, Response
from marshmallow import fields, validate

from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.features.webhooks.api import ID_PATTERN, url_field
from vault.features.webhooks.kinds import kinds
from vault.features.webhooks.webhooks import NewWebhook, Webhooks
from vault.toolkit.document.fields import matches
from vault.toolkit.operations.blueprint import current_attempt, current_slot, services
from vault.toolkit.pages.operations import FormBody, answer, arguments, body, operation, page, see_other

blueprint = Blueprint("webhooks", __name__, template_folder="templates")


class _NewWebhook(FormBody):
    """A webhook to create."""

    url = url_field()
    events = fields.List(
        fields.String(validate=validate.OneOf(list(kinds()))),
        required=True,
        validate=validate.Length(1, len(kinds())),
    )


class _Webhook(FormBody):
    """A webhook."""

    webhook_id = fields.String(required=True, validate=matches(ID_PATTERN, "Must be the ID of a webhook."))


@blueprint.get("/webhooks")
@operation(Action.WEBHOOK_LIST, Scope.WEBHOOK_MANAGE)
def index() -> Response:
    """Return the page of webhooks."""
    return page("webhooks", webhooks=services().of(Webhooks).list(attempt=current_attempt()), kinds=kinds())


@blueprint.post("/webhooks/create")
@operation(Action.WEBHOOK_CREATE, Scope.WEBHOOK_MANAGE, is_page=False)
def create() -> Response:
    """Create a webhook, and return its secret to the page's script."""
    asked = body(_NewWebhook)
    new = NewWebhook(url=asked["url"], events=frozenset(asked["events"]))
    created = services().of(Webhooks).create(new, attempt=current_attempt())
    return answer(value=created.secret, message="Verify signatures with this. It is not shown again.")


@blueprint.post("/webhooks/test")
@operation(Action.WEBHOOK_TEST, Scope.WEBHOOK_MANAGE, is_page=False)
def test() -> Response:
    """Send an event now, and return the outcome to the page's script."""
    send = services().of(Webhooks).test(body(_Webhook)["webhook_id"], attempt=current_attempt())
    # The receiver can be slow.
    with current_slot().given_back():
        error = send()
    return answer(message=f"Not accepted: {error}" if error else "Accepted.")


@blueprint.post("/webhooks/delete")
@operation(Action.WEBHOOK_DELETE, Scope.WEBHOOK_MANAGE)
def delete() -> Response:
    """Delete a webhook."""
    services().of(Webhooks).delete(arguments().get("webhook_id", ""), attempt=current_attempt())
    return see_other("console.webhooks.index")
