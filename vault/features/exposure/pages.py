"""The page of those who know a secret."""

from flask import Blueprint, Response

from vault.common.pages import MAX_PAGE_BYTES
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.core.secrets.queries import current_id_of
from vault.features.exposure import exposure
from vault.features.exposure.knowledge import Question
from vault.toolkit.operations.blueprint import current_attempt
from vault.toolkit.operations.replies import reply_memory
from vault.toolkit.pages.operations import arguments, operation, page
from vault.toolkit.pages.references import reference_of

blueprint = Blueprint("exposure", __name__, template_folder="templates")

#: Rows of a page.
_PAGE_SIZE = 100


@blueprint.route("/known", methods=["GET", "POST"])
@operation(Action.AUDIT_EXPOSURE, Scope.AUDIT_READ)
def known() -> Response:
    """Return a page of those who know versions of a secret."""
    asked, attempt = arguments(), current_attempt()
    reference = reference_of(asked)
    question = Question(
        secret_id=reference.secret_id,
        secret_name=reference.name,
        namespace=attempt.principal.namespace,
        stale=True,
    )
    with reply_memory(MAX_PAGE_BYTES):
        found = exposure.page(question, cursor=asked.get("cursor"), limit=_PAGE_SIZE, attempt=attempt)
        current_id = current_id_of(reference.name, question.namespace) if reference.name else ""
        return page("known", reference=reference, found=found, current_id=current_id)
