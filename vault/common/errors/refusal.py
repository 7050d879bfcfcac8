"""The reply that refuses a request because of an error, and its page."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reply that refuses a request."""

    status: int
    #: The title of the problem and of its page.
    title: str
    #: The reply's `detail`; empty if the error's own message is for the caller.
    detail: str = ""
    #: The reply's `WWW-Authenticate` header (RFC 6750).
    challenge: str = ""
    #: The refusal leaves an audit entry; False if the trail itself may be unavailable.
    is_recorded: bool = True
    #: The paragraph of the page that explains it; if empty, the docstring of the error's class. Those of the
    #: core's errors are in `refusal_pages`.
    page: str = ""
    #: What commands say to do in place of the remedy of its class, if the error itself has no hint.
    hint: str = ""
