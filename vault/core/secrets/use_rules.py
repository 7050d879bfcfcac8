"""Use rules: who may set them, and for which secrets. What a rule says is a feature's, except its hosts."""

from vault.common.errors import UseRulesRefusedError
from vault.core.attempt import Attempt
from vault.core.documents.stored_secret import UseRules
from vault.core.principal import Scope

#: The bytes of the shortest value with rules: a shorter one is in many replies by chance, so that it could
#: not be removed from them.
MIN_BYTES = 8


def require_right(attempt: Attempt) -> None:
    """Require the right to set rules: who chooses where a value goes could read it there.

    Raises:
        CredentialRequiredError: The principal of *attempt* may not fetch, and sent no credential.
        ScopeMissingError: It may not fetch.
    """
    attempt.require(Scope.SECRET_FETCH)


def require_usable(use_rules: UseRules | None, name: str | None, plaintext: bytes) -> None:
    """Return if a secret with this *name* and value can have *use_rules*, or has none.

    An empty value is none, and cannot be used.

    Raises:
        UseRulesRefusedError: It has no name, or its value is too short.
    """
    if not use_rules:
        return
    if name is None:
        raise UseRulesRefusedError("A secret without a name cannot have use rules.")
    if 0 < len(plaintext) < MIN_BYTES:
        raise UseRulesRefusedError(f"A value under {MIN_BYTES} bytes cannot have use rules.")


def hosts(use_rules: UseRules | None) -> list[str]:
    """Return the hosts to which *use_rules* let a value go, for an entry."""
    return sorted({host for rule in use_rules or () for host in rule["hosts"]})
