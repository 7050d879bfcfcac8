"""The panel about uses on the page of a secret."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint

from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.core.trail import reader
from vault.core.trail.reader import Filter, Order
from vault.toolkit.operations.blueprint import current_attempt
from vault.toolkit.operations.replies import reply_memory
from vault.toolkit.pages.entries import ENTRY_BYTES, Row

#: It has templates only.
blueprint = Blueprint("broker", __name__, template_folder="templates")

_MAX_USES = 10


def panel_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last uses of the page's secret; None without rules or without the right to the trail."""
    secret, attempt = values["secret"], current_attempt()
    if not secret["use_rules"] or Scope.AUDIT_READ not in attempt.principal.scopes:
        return {"uses": None}
    which = Filter(secret_id=secret["secret_id"], action=Action.USE)
    query = replace(attempt, action=Action.AUDIT_QUERY, details={"via": "console"}, receipt=None)
    with reply_memory(_MAX_USES * ENTRY_BYTES):
        found = reader.page(which, cursor=None, limit=_MAX_USES, order=Order.NEWEST_FIRST, attempt=query)
        return {"uses": [Row.of(entry, attempt.principal.namespace) for entry in found.entries]}
