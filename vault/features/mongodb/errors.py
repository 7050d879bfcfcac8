"""Errors of a replica set, and of MongoDB's driver on the way to it."""

from pymongo.errors import ConnectionFailure, OperationFailure

from vault.common.errors import StorageUnavailableError, VaultError
from vault.common.text import printable
from vault.core.documents.guard import is_denied
from vault.core.documents.members import explanation

#: MongoDB's error codes of a set's configuration: no such node, no replication there, an invalid one.
_CONFIGURATION = {74, 76, 93}


class ReplicaSetError(VaultError):
    """The replica set differs from the connection string, or did not become ready; the message says why."""


def failed(problem: str, error: Exception, uri: str) -> VaultError:
    """Return the error of a command that failed because of *error*, a driver's, on the servers in *uri*."""
    if isinstance(error, ConnectionFailure):
        return StorageUnavailableError(f"{problem}: {explanation(uri) or _reason(error)}")
    if is_denied(error):
        return StorageUnavailableError(f"{problem}: {_reason(error)}", is_denied=True)
    return ReplicaSetError(f"{problem}: {_reason(error)}")


def _reason(error: Exception) -> str:
    # Its text can quote a refused command, or the password in a URI; about a configuration, only names.
    code = getattr(error, "code", None)
    text = text_of(error) if isinstance(error, OperationFailure) and code in _CONFIGURATION else ""
    return " ".join(str(part) for part in (type(error).__name__, code, text) if part)


def text_of(error: OperationFailure) -> str:
    """Return the text of MongoDB's answer."""
    return printable(str((error.details or {}).get("errmsg", "")))
