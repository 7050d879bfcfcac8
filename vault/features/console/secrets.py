"""The pages of secrets: folders and searches, and one secret; and reveals of values."""

from collections.abc import Mapping
from datetime import timedelta

from flask import Blueprint, Response
from werkzeug.exceptions import BadRequest

from vault.common import clock
from vault.common.attributes import FILTERS, Description, Form
from vault.common.labels import are_labels, text_flaw
from vault.common.limits import MAX_VERSION
from vault.common.pages import MAX_PAGE_BYTES
from vault.common.text import is_one_line
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.core.secrets.requests import Reference
from vault.core.secrets.search import MAX_CHARACTERS, Search
from vault.toolkit.document.fields import id_field, number_field
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.operations.replies import MemoryIfLarge, reply_memory
from vault.toolkit.pages.operations import ReasonedBody, answer, arguments, operation, page, reasoned_body
from vault.toolkit.pages.references import folder_of, reference_of
from vault.toolkit.pages.values import shown

blueprint = Blueprint("secrets", __name__, template_folder="templates")

#: Rows of a page.
_PAGE_SIZE = 100

#: What expires within this time, expires soon; what was not fetched for this time, is unused.
_SOON, _UNUSED = timedelta(days=30), timedelta(days=90)
_FILTERS = ("expiring", "unused")


@blueprint.route("/", methods=["GET", "POST"])
@operation(Action.LIST, Scope.SECRET_LIST)
def index() -> Response:
    """Return a page of secrets: a folder, or those in it and below that a search and filters select."""
    asked = arguments()
    folder, attempt, queries = folder_of(asked), current_attempt(), services().queries
    with reply_memory(MAX_PAGE_BYTES):
        filters = {one.option: asked.get(one.option) for one in FILTERS}
        if not asked.keys() & {"q", "show", *filters}:
            keys = queries.level(folder, after=asked.get("after", ""), limit=_PAGE_SIZE + 1, attempt=attempt)
            found = {"keys": keys[:_PAGE_SIZE], "has_more": len(keys) > _PAGE_SIZE}
            return page("folder", folder=folder, **found)
        query, show = asked.get("q", ""), asked.get("show", "")
        if len(query) > MAX_CHARACTERS or not is_one_line(query):
            raise BadRequest(f"A search has one line of at most {MAX_CHARACTERS} characters.")
        if show and show not in _FILTERS:
            raise BadRequest("There is no such filter.")
        search = Search(
            text=query,
            folder=folder,
            description=_description_of(asked),
            expires_within=_SOON if show == "expiring" else None,
            unused_for=_UNUSED if show == "unused" else None,
        )
        secrets, cursor = queries.search(
            search, cursor=asked.get("cursor"), limit=_PAGE_SIZE, attempt=attempt
        )
        if show == "expiring":
            secrets.sort(key=lambda secret: secret["expires_at"])
        found = {"secrets": secrets, "cursor": cursor}
        return page("found", folder=folder, query=query, filters=filters, show=show, **found)


def _description_of(asked: Mapping[str, str]) -> Description:
    forms = {Form.TEXT: _text, Form.PAIRS: _label}
    found = {one.name: forms[one.form](asked[one.option]) for one in FILTERS if one.option in asked}
    return Description.of(found)


def _text(text: str) -> str:
    if flaw := text_flaw(text):
        raise BadRequest(f"A text {flaw}.")
    return text


def _label(label: str) -> dict[str, str]:
    key, equals, text = label.partition("=")
    if not equals or not are_labels({key: text}):
        raise BadRequest("A label has the form key=text.")
    return {key: text}


@blueprint.route("/secret", methods=["GET", "POST"])
@operation(Action.DESCRIBE, Scope.SECRET_DESCRIBE)
def show() -> Response:
    """Return the page of a secret."""
    attempt = current_attempt()
    asked = arguments()
    secret = services().queries.describe(reference_of(asked), attempt=attempt)
    recovery = services().changes.retention.recovery
    return page(
        "secret",
        secret=secret,
        is_stored=asked.get("stored") == str(secret["version"]),
        now=clock.now(),
        recovery_days=recovery.days,
    )


class _Version(ReasonedBody):
    """A version of a secret to reveal."""

    secret_id = id_field("The secret's ID.", required=True)
    version = number_field("The version; the newest if omitted.", 1, maximum=MAX_VERSION)


@blueprint.post("/reveal")
@operation(Action.FETCH, Scope.SECRET_FETCH, is_page=False)
def reveal() -> Response:
    """Return a value as JSON: as text if it can be shown, or else in base64."""
    attempt = current_attempt()
    asked = reasoned_body(_Version, attempt)
    with MemoryIfLarge() as memory:
        value = services().secrets.fetch(
            Reference(secret_id=asked["secret_id"]),
            version=asked["version"],
            reserve=memory.reserve,
            attempt=attempt,
        )
        return answer(**shown(value))
