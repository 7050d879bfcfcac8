"""Requests of KV, version 2: their paths, queries and bodies, in the forms that Vault accepts.

Whatever has another form is refused with `BadRequest`, which says why.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from flask import request
from marshmallow import ValidationError
from werkzeug.exceptions import BadRequest

from vault.common.attributes import Description
from vault.common.credentials import token_flaw
from vault.common.paths import name_flaw
from vault.core.documents.stored_secret import StoredSecret
from vault.core.documents.write_rules import WriteRules
from vault.core.secrets import reach
from vault.core.secrets.requests import Reference
from vault.features.dialect.envelopes import duration
from vault.toolkit.document.fields import labels_field
from vault.toolkit.operations.blueprint import current_attempt

_LABELS = labels_field()

#: Go's forms of truth values in a query.
_TRUTHS = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("", "0", "f", "F", "false", "FALSE", "False"), False),
}

#: The mount of the secrets engine, below `/v1/`.
MOUNT = "secret"

#: The fields of metadata that a request can have.
METADATA_FIELDS = frozenset(
    {"custom_metadata", "cas_required", "delete_version_after", "max_versions", "metadata_cas_required"}
)

#: The longest time until a version is deleted.
_TEN_YEARS = timedelta(days=3_650)

_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


def has_list_query() -> bool:
    """Return whether the query asks for a list, or for what `asks_for_list` refuses."""
    return _TRUTHS.get(request.args.get("list", ""), True)


def asks_for_list() -> bool:
    """Return whether the query asks for a list."""
    text = request.args.get("list", "")
    if text not in _TRUTHS:
        raise BadRequest("The query `list` must be true or false.")
    return _TRUTHS[text]


def number_in_query(name: str) -> int | None:
    """Return the number in the query *name*; None without one."""
    text = request.args.get(name, "")
    if not text:
        return None
    if not _INTEGER.fullmatch(text):
        raise BadRequest(f"The query `{name}` must be a number.")
    return int(text)


def reference_to(path: str) -> Reference:
    """Return the reference to the secret at *path*.

    Raises:
        OutsidePathsError: It is not within the principal's paths.
    """
    name = path.rstrip("/")
    reach.require_within(name, current_attempt())
    require_no_token(name)
    return Reference(name=name)


def require_no_token(path: str) -> None:
    """Refuse a *path* that contains a token: no secret has it, and its sender has to know."""
    if flaw := token_flaw(path):
        raise BadRequest(f"The path of a secret {flaw}.")


def require_no_folder(path: str) -> None:
    """Refuse a *path* that ends in a slash."""
    if path.endswith("/"):
        raise BadRequest("cannot write to a path ending in '/'")


def name_to_write(path: str) -> str:
    """Return the name of the secret to write at *path*.

    Raises:
        OutsidePathsError: It is not within the principal's paths.
    """
    reach.require_within(path.rstrip("/"), current_attempt())
    require_no_folder(path)
    if flaw := name_flaw(path):
        raise BadRequest(f"The path of a secret {flaw}.")
    return path


def data_in(body: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the value in *body*: an object, or None for null."""
    if "data" not in body:
        raise BadRequest("no data provided")
    return _object(body, "data")


def _object(body: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """Return the object *name* of *body*; None for null. To Vault, an empty list is an empty object."""
    value = {} if body[name] == [] else body[name]
    if value is not None and not isinstance(value, dict):
        raise BadRequest(f"`{name}` must be an object.")
    return value


def cas_in(body: Mapping[str, Any]) -> int | None:
    """Return the version that must be the newest, by the options in *body*; None if any may be."""
    options = (_object(body, "options") if "options" in body else None) or {}
    return _cas(options["cas"]) if "cas" in options else None


def _cas(value: Any) -> int:
    if value in (None, "", False, True):
        return int(bool(value))
    if not isinstance(value, str) or not _INTEGER.fullmatch(value):
        raise BadRequest("error parsing check-and-set parameter")
    return int(value)


def versions_in(body: Mapping[str, Any], no: str) -> list[int]:
    """Return the version numbers in *body*: integers or texts, single or a list. *no* begins a refusal."""
    texts = body.get("versions")
    if isinstance(texts, str):
        texts = texts.split(",")
    if not texts:
        raise BadRequest(f"{no} version number provided")
    if not isinstance(texts, list) or not all(_is_version(text) for text in texts):
        raise BadRequest("The versions must be numbers.")
    return [int(text or 0) for text in texts]


def _is_version(text: Any) -> bool:
    return text is None or isinstance(text, bool) or bool(isinstance(text, str) and _INTEGER.fullmatch(text))


def custom_metadata_in(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the attributes in *body*, as they are; None for null, or if it has none."""
    return _object(body, "custom_metadata") if "custom_metadata" in body else None


def rules_in(body: Mapping[str, Any], present: WriteRules, *, max_versions: int) -> WriteRules:
    """Return the write rules in *body*, and otherwise the *present* ones. Null resets a rule.

    The service keeps at most *max_versions*.
    """
    changed: dict[str, Any] = {}
    if "cas_required" in body:
        changed["version_required"] = _truth(body, "cas_required")
    if "metadata_cas_required" in body:
        changed["metadata_version_required"] = _truth(body, "metadata_cas_required")
    if body.get("delete_version_after") is not None:
        changed["delete_after_seconds"] = _delay(body["delete_version_after"])
    if "max_versions" in body:
        number = body["max_versions"] or "0"
        if not isinstance(number, str) or not re.fullmatch("[0-9]{1,9}", number):
            raise BadRequest("`max_versions` must be a number.")
        changed["max_versions"] = int(number)
        if int(number) > max_versions:
            raise BadRequest(f"This service keeps at most {max_versions} versions.")
    return replace(present, **changed)


def require_metadata_cas(body: Mapping[str, Any], secret: StoredSecret) -> None:
    """Require that `metadata_cas` in *body* is the version of the metadata of *secret*, if one is needed."""
    if "metadata_cas" not in body:
        if secret.rules.metadata_version_required:
            raise BadRequest("metadata check-and-set parameter required for this call")
    elif _cas(body["metadata_cas"]) != secret.metadata_version:
        raise BadRequest("metadata check-and-set parameter does not match the current version")


def _truth(body: Mapping[str, Any], name: str) -> bool:
    value = body[name]
    if value is None or isinstance(value, bool):
        return bool(value)
    if not isinstance(value, str) or value not in _TRUTHS:
        raise BadRequest(f"`{name}` must be true or false.")
    return _TRUTHS[value]


def _delay(value: Any) -> int:
    delay = duration(value, "delete_version_after")
    if delay > _TEN_YEARS:
        raise BadRequest(f"delete_version_after must be at most {_TEN_YEARS.days} days")
    return math.ceil(delay.total_seconds())


def valid_description(given: Mapping[str, Any]) -> Description:
    """Return the description *given*, with numbers and truth values as texts."""
    texts = {key: _text(value) for key, value in given.items()}
    try:
        found: Mapping[str, str] = _LABELS.deserialize(texts)
    except ValidationError as error:
        raise BadRequest(f"custom_metadata validation failed: {_first(error.messages)}") from None
    return Description.of_pairs(found)


def _text(value: Any) -> Any:
    """Return a number, text or truth value as the text that Vault makes of it; others unchanged."""
    if isinstance(value, bool):
        return str(int(value))
    # A number is a text, too.
    return str(value) if isinstance(value, str) else value


def _first(messages: Any) -> str:
    if isinstance(messages, dict):
        return _first(next(iter(messages.values())))
    return messages if isinstance(messages, str) else _first(messages[0])
