"""Replies of KV, version 2: versions, rules and times, and what Vault says if there is nothing."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any

from flask import Response, g

from vault.common.attributes import Description
from vault.common.durations import kv_duration_text
from vault.common.errors import SecretNotFoundError
from vault.common.outcomes import Status
from vault.common.timestamps import moment
from vault.core.documents.stored_secret import VersionInfo
from vault.core.documents.write_rules import WriteRules
from vault.features.dialect.envelopes import CONTENT_TYPE, no_content, reply
from vault.features.dialect.kv_requests import reference_to
from vault.toolkit.operations.blueprint import current_attempt


def unsupported() -> Response:
    """Record that the path has no such method, and return the reply."""
    current_attempt().finish(Status.BAD_REQUEST)
    g.refused_for = "method_not_allowed"
    return reply(
        {"errors": ["1 error occurred:\n\t* unsupported operation\n\n"]}, HTTPStatus.METHOD_NOT_ALLOWED
    )


def missing(found: Response | None = None) -> Response:
    """Record that there is nothing, and return *found*, or a reply without a body."""
    current_attempt().finish(Status.NOT_FOUND)
    g.refused_for = "secret_not_found"
    # Vault gives a type also to no body.
    return found or Response(status=HTTPStatus.NOT_FOUND, content_type=CONTENT_TYPE)


def changed(change: Callable[..., object], path: str) -> Response:
    """Apply *change* to the secret at *path*, if there is one."""
    try:
        change(reference_to(path), attempt=current_attempt())
    except SecretNotFoundError:
        return missing(no_content())
    return no_content()


def rule_fields(rules: WriteRules) -> dict[str, Any]:
    """Return *rules* as metadata has them."""
    return {
        "cas_required": rules.version_required,
        "delete_version_after": kv_duration_text(rules.delete_after_seconds),
        "max_versions": rules.max_versions,
        "metadata_cas_required": rules.metadata_version_required,
    }


def version_fields(info: VersionInfo, description: Description) -> dict[str, Any]:
    """Return the version *info*, with the secret's *description*, as replies have it."""
    return {
        "created_time": time_text(info.created_at),
        "custom_metadata": description.pairs or None,
        "deletion_time": time_text(info.deleted_at),
        "destroyed": info.is_purged,
        "version": info.version,
    }


def time_text(time: datetime | None) -> str:
    """Return *time* as replies have it: empty for none."""
    return moment(time) if time else ""
