"""The pages of tokens."""

from datetime import timedelta
from typing import Any

from flask import Blueprint, Response
from marshmallow import fields, validate

from vault.common.pages import page_bytes
from vault.common.paths import MAX_PATHS, Paths, path_flaw
from vault.core.access.tokens.info import STATES
from vault.core.access.tokens.pages import LARGEST_BYTES
from vault.core.access.tokens.tokens import Grant
from vault.core.attempt import Action
from vault.core.principal import ROLES, Scope, role_of
from vault.toolkit.document.fields import flawless, name_field, number_field
from vault.toolkit.operations.blueprint import current_attempt, services
from vault.toolkit.operations.replies import reply_memory
from vault.toolkit.pages.operations import FormBody, answer, arguments, body, operation, page, see_other

blueprint = Blueprint("credentials", __name__, template_folder="templates")

#: Rows of a page.
_PAGE_SIZE = 50
_MAX_DAYS = 3_650


@blueprint.get("/tokens")
@operation(Action.TOKEN_LIST, Scope.TOKEN_MANAGE)
def tokens() -> Response:
    """Return a page of tokens."""
    asked = arguments()
    state = asked.get("state") if asked.get("state") in STATES else None
    with reply_memory(page_bytes(_PAGE_SIZE, LARGEST_BYTES)):
        tokens, cursor = services().tokens.page(
            state=state,
            unused_for=None,
            cursor=asked.get("cursor"),
            limit=_PAGE_SIZE,
            attempt=current_attempt(),
        )
        shown = [(token, role_of(token.scopes)) for token in tokens]
        return page("tokens", tokens=shown, cursor=cursor, state=state, states=STATES, roles=ROLES)


class _Paths(fields.String):
    """Paths as people write them: `billing/, shared/db`."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> list[str]:  # type: ignore[override]
        parts = super()._deserialize(*args, **kwargs).split(",")
        return [part.strip() for part in parts if part.strip()]


class _NewToken(FormBody):
    """A token to create."""

    name = name_field("The token's name.", required=True)
    role = fields.String(required=True, validate=validate.OneOf(list(ROLES)))
    paths = _Paths(
        load_default=list,
        validate=[validate.Length(max=MAX_PATHS), lambda paths: [*map(flawless(path_flaw), paths)] and None],
    )
    days = number_field("Days until it expires; never if omitted.", 90, maximum=_MAX_DAYS)


@blueprint.post("/tokens/create")
@operation(Action.TOKEN_CREATE, Scope.TOKEN_MANAGE, is_page=False)
def create_token() -> Response:
    """Create a token, and return it to the page's script."""
    asked = body(_NewToken)
    grant = Grant(
        name=asked["name"],
        scopes=ROLES[asked["role"]],
        paths=Paths.of(asked["paths"]),
        lifetime=timedelta(days=asked["days"]) if asked["days"] else None,
    )
    issued = services().tokens.create(grant, attempt=current_attempt())
    return answer(value=issued.text, message="This is the token. It is not shown again.")


@blueprint.post("/tokens/revoke")
@operation(Action.TOKEN_REVOKE, Scope.TOKEN_MANAGE)
def revoke_token() -> Response:
    """Revoke a token, with all that it created."""
    services().tokens.revoke(arguments().get("name", ""), cascade=True, attempt=current_attempt())
    return see_other("console.credentials.tokens")
