"""Links: the forms that make them, and the pages on which people without a session open or fill them."""

from datetime import UTC, datetime

from flask import Blueprint, Response, url_for
from marshmallow import fields

from vault.common.paths import name_flaw
from vault.common.timestamps import moment
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.core.secrets.requests import Reference
from vault.features.links.api import MAX_SECONDS, TOKEN_PATTERN, passphrase_field
from vault.features.links.requests import Requests
from vault.features.links.shares import Shares, Terms
from vault.toolkit.document.fields import Body, flawless, id_field, matches, number_field
from vault.toolkit.http.auth import CountedFailures
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.operations.replies import MemoryIfLarge
from vault.toolkit.pages.operations import (
    FormBody,
    ReasonedBody,
    answer,
    body,
    open_body,
    open_operation,
    open_page,
    operation,
    reasoned_body,
)
from vault.toolkit.pages.values import Value, shown

blueprint = Blueprint("links", __name__, template_folder="templates")


def _seconds() -> fields.Integer:
    return number_field("Seconds until it expires.", 3_600, maximum=MAX_SECONDS, default=3_600)


class _NewShare(ReasonedBody):
    """A secret to share."""

    secret_id = id_field("The secret's ID.", required=True)
    seconds = _seconds()
    passphrase = passphrase_field("The passphrase.")


class _NewRequest(FormBody):
    """A value to ask for."""

    name = fields.String(required=True, validate=flawless(name_flaw))
    seconds = _seconds()


class _Link(Body):
    """The token of a link."""

    token = fields.String(required=True, validate=matches(TOKEN_PATTERN, "The link is not complete."))


class _Share(_Link):
    """A share to open."""

    passphrase = passphrase_field("The passphrase.")


class _Filling(_Link):
    """The value that a request asks for."""

    value = Value(required=True)


@blueprint.post("/share/new")
@operation(Action.FETCH, Scope.SECRET_FETCH, is_page=False)
def new_share() -> Response:
    """Share a secret, and return the link to the page's script."""
    attempt = current_attempt()
    asked = reasoned_body(_NewShare, attempt)
    reference = Reference(secret_id=asked["secret_id"])
    terms = Terms(seconds=asked["seconds"], passphrase=asked["passphrase"])
    with MemoryIfLarge() as memory:
        new = services().of(Shares).share_secret(reference, terms, reserve=memory.reserve, attempt=attempt)
    return _new_link(
        "console.links.share", new.token, f"One person can open it, once, until {_shown(new.expires_at)}."
    )


@blueprint.post("/request/new")
@operation(Action.REQUEST, Scope.SECRET_CREATE, is_page=False)
def new_request() -> Response:
    """Ask for a value, and return the link to the page's script."""
    asked = body(_NewRequest)
    new = services().of(Requests).create(**asked, attempt=current_attempt())
    message = f"One person can store {asked['name']}, once, until {_shown(new.expires_at)}."
    return _new_link("console.links.request", new.token, message)


def _shown(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _new_link(endpoint: str, token: str, message: str) -> Response:
    """Return the reply with a new link. The script makes it a whole address: it knows that of the page."""
    return answer(link=f"{url_for(endpoint)}#{token}", message=message)


@blueprint.get("/share")
def share() -> Response:
    """Return the page of all shares: which one is in the fragment, which browsers send to no server."""
    return open_page("share")


@blueprint.post("/share/describe")
@open_operation(Action.WRAP_LOOKUP)
def describe_share() -> Response:
    """Say who shares, and until when."""
    attempt = current_attempt()
    with CountedFailures(attempt):
        share = services().of(Shares).look_up(open_body(_Link)["token"], attempt=attempt)
    return answer(by=share.shared_by, until=moment(share.expires_at), has_passphrase=share.has_passphrase)


@blueprint.post("/share/open")
@open_operation(Action.UNWRAP)
def open_share() -> Response:
    """Return the value of a share as JSON, to the first who asks."""
    asked, attempt = open_body(_Share), current_attempt()
    with CountedFailures(attempt), MemoryIfLarge() as memory:
        value = services().of(Shares).open(**asked, reserve=memory.reserve, attempt=attempt)
        return answer(**shown(value))


@blueprint.get("/request")
def request() -> Response:
    """Return the page of all requests, as `share`."""
    return open_page("request")


@blueprint.post("/request/describe")
@open_operation(Action.REQUEST_LOOKUP)
def describe_request() -> Response:
    """Say who asks for what, and until when."""
    attempt = current_attempt()
    with CountedFailures(attempt):
        found = services().of(Requests).look_up(open_body(_Link)["token"], attempt=attempt)
    return answer(
        by=found.requested_by, until=moment(found.expires_at), name=found.name, max_bytes=found.max_bytes
    )


@blueprint.post("/request/fill")
@open_operation(Action.CREATE, has_value=True)
def fill_request() -> Response:
    """Store the value that a request asks for."""
    asked, attempt = open_body(_Filling), current_attempt()
    with CountedFailures(attempt):
        services().of(Requests).fill(asked["token"], asked["value"], attempt=attempt)
    return answer(message="Stored. You can close this page.")
