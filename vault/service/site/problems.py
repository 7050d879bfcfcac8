"""The pages that explain the kinds of problems; the `type` of a problem is the address of its page."""

from functools import cache

from flask import Blueprint, Response, abort, render_template

from vault.toolkit.http.errors import PAGES, uri_of
from vault.toolkit.http.refusals import REFUSALS

#: No scripts, and only content from this service.
_CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)

#: Codes by the address of their page.
_CODES = {uri_of(code): code for code in REFUSALS}

blueprint = Blueprint("problem_pages", __name__, url_prefix=PAGES, template_folder="templates")


# Rendering takes longer than most replies, and the pages never change.
@blueprint.get("/")
@cache
def index() -> str:
    """Return the list of all kinds."""
    kinds = [(REFUSALS[code], code, address) for address, code in _CODES.items()]
    return render_template("problems.html", kinds=sorted(kinds, key=lambda kind: (kind[0].status, kind[1])))


@blueprint.get("/<name>")
def page(name: str) -> str:
    """Return the page of one kind."""
    code = _CODES.get(PAGES + name)
    if code is None:
        abort(404)
    return _rendered(code)


@cache
def _rendered(code: str) -> str:
    return render_template("problem.html", kind=REFUSALS[code], code=code)


@blueprint.after_request
def protect(reply: Response) -> Response:
    """Restrict the pages to content from this service."""
    reply.headers["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
    reply.headers["Referrer-Policy"] = "no-referrer"
    return reply
