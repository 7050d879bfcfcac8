"""Changes of secrets: new ones, new versions, deletions and restorations."""

from typing import Any

from flask import Blueprint, Response, request, url_for
from marshmallow import ValidationError, fields, validate

from vault.common.attributes import ATTRIBUTES, Description, Form
from vault.common.labels import are_labels, text_flaw
from vault.common.limits import MAX_READS, MAX_VERSION
from vault.common.pages import MAX_PAGE_BYTES
from vault.common.paths import name_flaw
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.core.secrets.requests import NewSecret, Reference
from vault.core.secrets.search import Search
from vault.toolkit.document.fields import flawless, id_field, number_field
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.operations.replies import reply_memory
from vault.toolkit.pages.operations import FormBody, answer, arguments, body, operation, page, see_other
from vault.toolkit.pages.references import folder_of, reference_of
from vault.toolkit.pages.values import Value

blueprint = Blueprint("changes", __name__, template_folder="templates")

#: Rows of a page.
_PAGE_SIZE = 100
_SECONDS_A_DAY = 86_400
_MAX_DAYS = 3_650


class _Labels(fields.String):
    """Labels as people write them, by default in one line: `team=billing, env=prod`."""

    def __init__(self, separator: str = ",", between: str = "commas in between", **options: Any) -> None:
        super().__init__(**options)
        self._separator = separator
        self._between = between

    def _deserialize(self, *args: Any, **kwargs: Any) -> dict[str, str]:  # type: ignore[override]
        parts = [part.strip() for part in super()._deserialize(*args, **kwargs).split(self._separator)]
        pairs = [part.partition("=") for part in parts if part]
        found = {key.strip(): text.strip() for key, _, text in pairs}
        is_whole = len(found) == len(pairs) and all(equals for _, equals, _ in pairs)
        if not (is_whole and are_labels(found)):
            raise ValidationError(f"Write labels as key=text, with {self._between}.")
        return found


def _attributes(**pairs: Any) -> dict[str, fields.Field[Any]]:
    """Return the fields for the attributes of a secret, with options for those of *pairs*."""
    return {
        one.name: _Labels(**pairs, load_default=dict)
        if one.form is Form.PAIRS
        else fields.String(validate=flawless(text_flaw), load_default="")
        for one in ATTRIBUTES
    }


class _NewSecret(FormBody):
    """A secret to create."""

    name = fields.String(required=True, validate=flawless(name_flaw))
    value = Value(required=True)
    locals().update(_attributes())
    days = number_field("Days until it expires; never if omitted.", 30, maximum=_MAX_DAYS)
    max_reads = number_field("Maximum number of fetches; unlimited if omitted.", 1, maximum=MAX_READS)


class _NewVersion(FormBody):
    """The next version of a secret."""

    secret_id = id_field("The secret's ID.", required=True)
    value = Value(required=True)
    expected_version = number_field("The newest version that the page has.", 1, maximum=MAX_VERSION)


class _NewDescription(FormBody):
    """All attributes of a secret."""

    secret_id = id_field("The secret's ID.", required=True)
    # One has commas only if each is a line.
    locals().update(_attributes(separator="\n", between="each on a line"))
    #: The version of the metadata that the page has; 0 before the first change.
    metadata_version = fields.Integer(strict=True, required=True, validate=validate.Range(0))


@blueprint.get("/new")
@operation(Action.CREATE, Scope.SECRET_CREATE)
def new() -> Response:
    """Return the page for a new secret. It reads nothing, so it leaves no entry."""
    return page("new", folder=folder_of(request.args.to_dict()))


@blueprint.post("/create")
@operation(Action.CREATE, Scope.SECRET_CREATE, is_page=False, has_value=True)
def create() -> Response:
    """Create a secret."""
    asked = body(_NewSecret)
    name, days = asked["name"], asked["days"]
    new = NewSecret(
        plaintext=asked["value"],
        name=name,
        description=Description.of(asked),
        ttl_seconds=days and days * _SECONDS_A_DAY,
        max_reads=asked["max_reads"],
    )
    services().secrets.create(new, attempt=current_attempt())
    return _stored("Stored.", name, version=1)


@blueprint.post("/update")
@operation(Action.UPDATE, Scope.SECRET_UPDATE, is_page=False, has_value=True)
def update() -> Response:
    """Store the next version of a secret, if no one else has in the meantime."""
    asked, attempt = body(_NewVersion), current_attempt()
    written = services().changes.update(
        Reference(secret_id=asked["secret_id"]),
        asked["value"],
        expected_version=asked["expected_version"],
        attempt=attempt,
    )
    message = f"Stored as version {written.version}."
    return _stored(message, attempt.details.get("name"), version=written.version)


@blueprint.post("/labels")
@operation(Action.UPDATE_METADATA, Scope.SECRET_UPDATE, is_page=False)
def labels() -> Response:
    """Replace the attributes of a secret, if no one else has changed its metadata in the meantime."""
    asked, attempt = body(_NewDescription), current_attempt()
    services().metadata.change(
        Reference(secret_id=asked["secret_id"]),
        described=lambda _present: Description.of(asked),
        metadata_version=asked["metadata_version"],
        attempt=attempt,
    )
    return _stored("Stored.", attempt.details.get("name"))


def _stored(message: str, name: str | None, *, version: int | None = None) -> Response:
    """Return the reply after a write: it leads to the secret's page, if it has one for this person."""
    if name is None or Scope.SECRET_DESCRIBE not in current_attempt().principal.scopes:
        return answer(message=message)
    return answer(message=message, location=url_for("console.secrets.show", name=name, stored=version))


@blueprint.post("/delete")
@operation(Action.DELETE, Scope.SECRET_DELETE)
def delete() -> Response:
    """Delete a secret."""
    reference, attempt = reference_of(arguments()), current_attempt()
    _, until = services().changes.delete(reference, attempt=attempt)
    if Scope.SECRET_LIST not in attempt.principal.scopes:
        return page("done", title="Deleted")
    if until:
        return see_other("console.changes.deleted")
    return see_other("console.secrets.index", folder=_parent(attempt.details.get("name")))


@blueprint.post("/restore")
@operation(Action.RESTORE, Scope.SECRET_DELETE)
def restore() -> Response:
    """Restore a deleted secret."""
    attempt = current_attempt()
    services().changes.restore(reference_of(arguments()), attempt=attempt)
    name = attempt.details.get("name")
    if name is None or Scope.SECRET_DESCRIBE not in attempt.principal.scopes:
        return see_other("console.changes.deleted")
    return see_other("console.secrets.show", name=name)


@blueprint.route("/deleted", methods=["GET", "POST"])
@operation(Action.LIST, Scope.SECRET_LIST)
def deleted() -> Response:
    """Return a page of the deleted secrets that can be restored."""
    asked = arguments()
    with reply_memory(MAX_PAGE_BYTES):
        secrets, cursor = services().queries.page(
            Search(deleted=True),
            cursor=asked.get("cursor"),
            limit=_PAGE_SIZE,
            attempt=current_attempt(),
        )
        return page("deleted", secrets=secrets, cursor=cursor)


def _parent(name: str | None) -> str | None:
    """Return the folder of a secret; None if it is in none."""
    folder, slash, _ = (name or "").rpartition("/")
    return folder + slash or None
