"""Exposure over HTTP: who knows and uses which value, and the schemas of its requests and replies."""

from contextlib import suppress
from ipaddress import ip_address
from typing import Any, ClassVar

from marshmallow import ValidationError, fields, validates_schema

from vault.common.networks import unmapped
from vault.common.text import ONE_LINE_PATTERN
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.features.exposure import exposure
from vault.features.exposure.exposure import MAX_LIMIT, UNKNOWN
from vault.features.exposure.knowledge import Question
from vault.service.api.audit import bound_field
from vault.service.api.secret_requests import NAME, SecretReference
from vault.toolkit.document.fields import (
    SECRET_ID,
    TEXT,
    Body,
    Moment,
    Reply,
    boolean_field,
    flag_field,
    integer_field,
    next_cursor_field,
    number_field,
    objects_field,
    one_line,
    text_field,
    texts_field,
    time_field,
)
from vault.toolkit.operations.blueprint import Blueprint, current_attempt
from vault.toolkit.operations.replies import reply_memory

_TIME = "2026-11-24T15:30:00.000Z"
_CURSOR = "WyI1NTBlODQwMCIsIDMsICJhbGljZSJd"
#: Bytes of an exposure, and of the uses by a principal, in a reply; hardly any has more.
_EXPOSURE_BYTES = 8_192

_CRITERIA = ("secret", "principal", "token", "address", "service", "node")


class _Address(fields.String):
    """An address of a client, as entries have it."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> str:
        if address := _shortest(super()._deserialize(*args, **kwargs)):
            return address
        raise ValidationError("Not an IP address.")


def _shortest(text: str) -> str:
    """Return the address in *text* as entries have it, or nothing: an error would quote the text."""
    with suppress(ValueError):
        return str(ip_address(unmapped(text)))
    return ""


def _text(description: str, example: str) -> fields.String:
    return text_field(
        description, example, shape={"pattern": ONE_LINE_PATTERN}, load_default=None, validate=one_line
    )


class ExposureQuery(Body):
    """The exposures to find. They meet all given criteria, of which at least one is required."""

    refused: ClassVar = {
        "properties": {name: {"not": {"type": "object"} if name == "secret" else TEXT} for name in _CRITERIA}
    }

    secret = fields.Nested(
        SecretReference,
        load_default=None,
        metadata={
            "description": "Who knows this secret: by its ID, or its name in your namespace.",
            "example": {"name": "billing/db-password"},
        },
    )
    principal = _text("What this principal knows.", "alice")
    token = _text("What the caller with this token knows: by its name in the trail, or its accessor.", "ci")
    address = _Address(
        load_default=None,
        metadata={
            "description": "What was released to this client's address.",
            "example": "192.0.2.7",
            "format": "ip",
            # The shortest is `::`.
            "minLength": 2,
        },
    )
    service = _text("What was delivered for this service.", "shop_api")
    node = _text("What was delivered to the node with this ID.", "24ifsmvkjbyhk0r2pvfnmdxtb")
    since = bound_field("Only by entries from this time on.", _TIME)
    stale = flag_field("If true, also replaced versions, and secrets that can no longer be read.")
    limit = number_field(
        "Maximum number of principals in each list; 100 if omitted.", 100, maximum=MAX_LIMIT, default=100
    )
    cursor = text_field(
        "The `cursor` of the previous page of the same query. If omitted, start at the first page.",
        _CURSOR,
        shape={"pattern": exposure.CURSOR_PATTERN, "maxLength": exposure.MAX_CURSOR_LENGTH},
        load_default=None,
    )

    @validates_schema
    def _some_criterion(self, data: dict[str, Any], **_: Any) -> None:
        if all(data[name] is None for name in _CRITERIA):
            raise ValidationError(f"At least one of {', '.join(_CRITERIA)} is required.", "secret")


_ENTRY: dict[str, Any] = {"stream": "2-" + "9f" * 15, "seq": 7, "hash": "9f" * 32}


class EntryReference(Reply):
    """The place of an entry in the trail."""

    stream = text_field("The entry's chain.", _ENTRY["stream"], required=True)
    seq = integer_field("The entry's number in its chain.", _ENTRY["seq"], required=True)
    hash = text_field("The entry's hash.", _ENTRY["hash"], required=True)


class _VersionRecord(Reply):
    """A version of a secret, and a principal."""

    name = fields.String(required=True, allow_none=True, metadata=NAME)
    namespace = text_field("Its namespace; null without a name.", "default", required=True, allow_none=True)
    secret_id = fields.String(required=True, metadata=SECRET_ID)
    version = integer_field("The version.", 3, required=True)
    is_current = boolean_field("True if it is the value that readers get now.", example=True, required=True)
    first_at = time_field("The time of the first entry.", _TIME, allow_none=False)
    last_at = time_field("The time of the newest entry.", _TIME, allow_none=False)
    count = integer_field("The number of entries.", 2, required=True)
    last_entry = fields.Nested(
        EntryReference,
        required=True,
        metadata={"description": "The newest entry, as evidence.", "example": _ENTRY},
    )


class ExposureRecord(_VersionRecord):
    """A version of a secret, and a principal that knows it."""

    principal = text_field("The principal that knows it.", "alice", required=True)
    how = texts_field(
        "`fetch`, also in a batch; `unwrap`, of a wrapped reply; `delivery`, a fetch for a task; `write`; "
        "`broker`, which gets it for the requests of others.",
        ["fetch", "write"],
    )
    services = texts_field("The services for which it was fetched; at most 100.", [])


class UseRecord(_VersionRecord):
    """A version of a secret, and a principal that used it through a broker and does not know it."""

    principal = text_field("The principal that used it.", "agent-7", required=True)
    host = text_field(
        "The host that got it, with its port unless that is 443.", "api.stripe.com", required=True
    )


class ExposurePage(Reply):
    """A page of exposures and uses."""

    exposures = objects_field(ExposureRecord, "In the order of secrets' IDs, versions and principals.")
    uses = objects_field(UseRecord, "In the same order, then in that of hosts; at most 100 of a principal.")
    cursor = next_cursor_field(_CURSOR, exposure.CURSOR_PATTERN)
    complete_until = Moment(
        required=True,
        metadata={
            "description": "Everything before this time is included; later entries can be missing. Of "
            "several pages, the first one's counts.",
            "example": _TIME,
        },
    )
    # marshmallow has an attribute of this name, which fields do not become.
    unknown = texts_field(  # type: ignore[assignment]
        f"What the trail cannot know: {'; '.join(f'`{name}`, {what}' for name, what in UNKNOWN.items())}.",
        list(UNKNOWN),
    )


blueprint = Blueprint("Exposure", __name__, url_prefix="/vault/audit", description="Find who knows what.")


@blueprint.post("/exposure")
@blueprint.operation(Action.AUDIT_EXPOSURE, scope=Scope.AUDIT_READ, refusals=("InvalidQuery",))
@blueprint.arguments(ExposureQuery, example={"principal": "alice"})
@blueprint.response(200, ExposurePage, description="A page, which can be empty before the last one.")
def find_exposures(body: dict[str, Any]) -> dict[str, Any]:
    """Find who knows what.

    Returns who has got which value, by the entries of the audit trail: who fetched or unwrapped a version, or
    wrote it; and apart, who used it through a broker and does not know it. Without `stale`, only current
    values. Requires the scope `audit:read`; with paths, it returns only what is about secrets within them.

    The reply does not verify the trail: `secret-manager audit verify` does.
    """
    limit, cursor, secret = body.pop("limit"), body.pop("cursor"), body.pop("secret")
    attempt = current_attempt()
    if secret is not None:
        body |= {"secret_id": secret["reference"].secret_id, "secret_name": secret["reference"].name}
    question = Question(**body, namespace=attempt.principal.namespace)
    with reply_memory(limit * _EXPOSURE_BYTES):
        page = exposure.page(question, cursor=cursor, limit=limit, attempt=attempt)
        return {
            "exposures": page.exposures,
            "uses": page.uses,
            "cursor": page.cursor,
            "complete_until": page.complete_until,
            "unknown": list(UNKNOWN),
        }
