"""Hints for the senders of refused requests, without anything of these, which can be a credential."""

from collections.abc import Iterable

from flask import Request, current_app
from werkzeug.exceptions import MethodNotAllowed, NotFound

from vault.common.errors import CredentialRequiredError, InvalidCredentialError
from vault.toolkit.http import auth
from vault.toolkit.http.prefixes import REST

_BEARER = "Send it in the header `Authorization`, after `Bearer` and a space."
_POST = "Send POST, with a JSON body."


def about(error: Exception, req: Request) -> str:
    """Return the hint for the sender of *req*, which *error* refuses; empty for none."""
    if not req.path.startswith(REST):
        return ""
    if isinstance(error, InvalidCredentialError) and not error.is_of_header:
        return ""
    if isinstance(error, CredentialRequiredError | InvalidCredentialError):
        return _BEARER if auth.has_another_scheme(req) else ""
    if isinstance(error, MethodNotAllowed):
        return _POST
    if isinstance(error, NotFound):
        return _path_hint(req.path, {rule.rule.rstrip("/") for rule in current_app.url_map.iter_rules()})
    return ""


def _path_hint(path: str, known: Iterable[str]) -> str:
    """Return the one of the paths *known* that *path* may stand for: the nouns in it are singular."""
    noun, _, rest = path.removeprefix(REST).rstrip("/").partition("/")
    folder = f"{REST}{noun.removesuffix('s')}/"
    meant = folder + rest.replace("_", "-")
    if meant in known:
        return f"Did you mean `{meant}`?"
    if any(one.startswith(folder) for one in known):
        return f"`/docs` lists the paths below `{folder}`."
    return ""
