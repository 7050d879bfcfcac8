"""The entries of the trail that `audit:read` shows to a new token or role, and to a stored one."""

from collections.abc import Collection, Sequence
from typing import Protocol

from vault.common.errors import GrantRefusedError
from vault.common.paths import Paths
from vault.core.principal import DEFAULT_NAMESPACE, Scope


class Rights(Protocol):
    """The rights of a stored token or role."""

    scopes: Sequence[str]
    networks: Sequence[str]
    paths: Sequence[str] | None
    own_entries_only: bool | None


def is_limited(namespace: str, scopes: Collection[Scope], paths: Paths, *, all_namespaces: bool) -> bool:
    """Return whether `audit:read` shows a new grant the entries of its own *namespace* only.

    A grant with *paths* sees no others anyway, and one of the default namespace sees all.

    Raises:
        GrantRefusedError: It is to see *all_namespaces*, which its scopes or paths do not allow.
    """
    if all_namespaces and (Scope.AUDIT_READ not in scopes or paths):
        raise GrantRefusedError(f"All namespaces require the scope {Scope.AUDIT_READ}, and no paths.")
    return namespace != DEFAULT_NAMESPACE and Scope.AUDIT_READ in scopes and not (paths or all_namespaces)


def sees_all(held: Rights) -> bool:
    """Return whether `audit:read` shows the entries of all namespaces to a genuine token or role."""
    return Scope.AUDIT_READ in held.scopes and not (held.paths or held.own_entries_only)
