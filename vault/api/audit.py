"""The audit trail over HTTP."""

from typing import Any

from vault.api.audit_schemas import AuditPage, AuditQuery
from vault.api.blueprint import Blueprint, current_attempt
from vault.operations import trail
from vault.operations.attempt import Action
from vault.operations.principal import Scope
from vault.operations.trail import Filter

blueprint = Blueprint("Audit", __name__, url_prefix="/vault/audit", description="Who did what, and when.")


@blueprint.post("/query")
@blueprint.operation(Action.AUDIT_QUERY, scope=Scope.AUDIT_READ, refusals=("InvalidQuery",))
@blueprint.arguments(AuditQuery)
@blueprint.response(200, AuditPage, description="Entries in the order of time.")
def query_audit(body: dict[str, Any]) -> dict[str, Any]:
    """Query the audit trail.

    Needs the scope `audit:read`; it is never open to anonymous callers. Without a filter it returns
    everything, page by page: send the `cursor` of a reply with the next query, until it is null. To go on
    later, send `follow` in its place: then every entry is returned exactly once, including those that other
    workers were still writing.
    """
    limit, cursor = body.pop("limit"), body.pop("cursor")
    page = trail.page(Filter(**body), cursor=cursor, limit=limit, attempt=current_attempt())
    return {"entries": page.entries, "cursor": page.cursor, "follow": page.follow}
