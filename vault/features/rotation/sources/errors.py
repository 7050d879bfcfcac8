"""Failures at sources. Their texts quote nothing that a source sends: it can repeat a statement."""


class LostError(Exception):
    """Another runner has the plan, or someone has changed or deleted it."""


class SourceError(Exception):
    """A source did not do what it was asked for."""


class SourceRefusedError(SourceError):
    """The source answers, and refuses; the text says what."""


class SourceUnavailableError(SourceError):
    """The source cannot be reached, or does not answer in time."""


class WrongPasswordError(SourceRefusedError):
    """The server does not accept the password of a user who is not the administrator."""


def wrong_password(*, is_admin: bool) -> SourceRefusedError:
    """Return the refusal of a user or a password."""
    if is_admin:
        return SourceRefusedError("the server refuses the administrator's user or password")
    return WrongPasswordError("the server refuses the user or the password")


def tls_failure() -> SourceRefusedError:
    """Return the failure of TLS."""
    return SourceRefusedError("TLS to the server fails: check its certificate, and the options of the URL")
