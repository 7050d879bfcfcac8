"""Outcomes of errors in the audit trail: the same for a request over HTTP and for an operator's command."""

from collections.abc import Mapping

from vault.core.attempt import Status
from vault.core.errors import VaultError

#: By the kind of the error. Every other error is a failure of the service.
_OUTCOMES: Mapping[str, Status] = {
    # What the principal may not do. Also credentials that cannot be checked: anyone can send forged ones.
    **dict.fromkeys(
        (
            *("credential_required", "invalid_credential", "invalid_login", "invalid_wrapping_token"),
            *("credentials_unavailable", "scope_missing", "address_refused", "host_refused"),
            *("rate_limited", "mount_forbidden", "namespace_not_found", "token_required"),
            *("grant_refused", "revocation_refused", "role_too_broad"),
            *("outside_paths", "delivery_refused"),
        ),
        Status.DENIED,
    ),
    # A name or an ID that does not exist.
    **dict.fromkeys(
        ("token_not_found", "issuer_not_found", "role_not_found", "secret_not_found"), Status.NOT_FOUND
    ),
    # What is refused to every principal: the input is invalid, or does not fit what is stored.
    **dict.fromkeys(
        (
            *("invalid_token_name", "token_name_taken", "ambiguous_token_name", "token_not_renewable"),
            *("issuer_taken", "issuer_in_use", "role_name_taken", "limit_reached"),
            *("invalid_base64", "secret_too_large", "too_large_for_batch", "too_many_matches"),
            *("too_many_keys", "name_taken", "version_conflict", "expected_version_required"),
            *("secret_not_deleted", "newest_version", "idempotency_mismatch", "weak_idempotency_key"),
            "invalid_cursor",
        ),
        Status.BAD_REQUEST,
    ),
}


def outcome_of(error: Exception) -> Status:
    """Return the outcome of an operation that ended with *error*."""
    return _OUTCOMES.get(error.kind, Status.ERROR) if isinstance(error, VaultError) else Status.ERROR
