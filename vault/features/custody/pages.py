"""The slots of the keyring file, on the console's page of master keys."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint

from vault.features.custody.trail import custody_state
from vault.toolkit.operations.blueprint import services

#: It has no page of its own, only templates.
blueprint = Blueprint("custody", __name__, template_folder="templates")


def slots(_values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state of the slots; none if the keys come from the settings."""
    return {"custody": custody_state(datetime.now(UTC)) if services().keys.has_file else None}
