"""The secret or the folder that the arguments of a page name."""

import re
from collections.abc import Mapping

from flask import request
from werkzeug.exceptions import BadRequest

from vault.common.paths import name_flaw, prefix_flaw
from vault.core.secrets.requests import Reference
from vault.toolkit.document.fields import UUID_PATTERN


def folder_of(asked: Mapping[str, str]) -> str:
    """Return the folder of the arguments *asked*; empty for the top.

    Raises:
        BadRequest: It is not valid.
    """
    folder = asked.get("folder", "")
    if prefix_flaw(folder) or (folder and not folder.endswith("/")):
        raise BadRequest("A folder's name ends with a slash.")
    return folder


def reference_of(asked: Mapping[str, str]) -> Reference:
    """Return the reference to a secret: by its name, or in a form by its ID, which is in no URL.

    Raises:
        BadRequest: Neither is valid.
    """
    name, secret_id = asked.get("name"), asked.get("secret_id", "")
    if name is None and request.method == "POST" and re.fullmatch(UUID_PATTERN, secret_id):
        return Reference(secret_id=secret_id.lower())
    if name is None or name_flaw(name):
        raise BadRequest("A secret's name is missing, or invalid.")
    return Reference(name=name)
