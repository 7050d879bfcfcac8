"""Panels of proofs on pages of the console."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint

from vault.features.proofs.activity import witness_activity

#: It has templates only.
blueprint = Blueprint("proofs", __name__, template_folder="templates")


def panel_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last answers for the page of a period, for those who see the whole trail.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    if not values["principal"].sees_all_entries:
        return {"witnesses": {}}
    return {"witnesses": witness_activity(values["since"], values["until"], ()).last}
