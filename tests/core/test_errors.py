"""The names of errors that operators see: renaming a class changes none of them."""

import importlib
import logging
import pkgutil
import sys
from collections.abc import Iterator

import pytest
from werkzeug import exceptions as http

import vault
from vault.api.http.refusals import REFUSALS, code_of
from vault.core.errors import DecryptionError, DuplicateNameError, SecretNotFoundError, VaultError
from vault.observability import logs

#: Kind, and name as an exception type.
NAMES = {
    "address_refused": "AddressRefusedError",
    "ambiguous_token_name": "AmbiguousTokenNameError",
    "audit_state": "AuditStateError",
    "audit_unavailable": "AuditUnavailableError",
    "backup_refused": "BackupRefusedError",
    "credential_required": "CredentialRequiredError",
    "credentials_unavailable": "CredentialsUnavailableError",
    "decryption": "DecryptionError",
    "delivery_forbidden": "DeliveryForbiddenError",
    "delivery_large_value": "DeliveryLargeValueError",
    "delivery_refused": "DeliveryRefusedError",
    "delivery_service_away": "DeliveryServiceAwayError",
    "delivery_unsuitable_value": "DeliveryUnsuitableValueError",
    "docker_away": "DockerAwayError",
    "docker_config_changed": "DockerConfigChangedError",
    "docker_refused": "DockerRefusedError",
    "duplicate_name": "DuplicateNameError",
    "expected_version_required": "ExpectedVersionRequiredError",
    "fetch_denied": "FetchDeniedError",
    "fetch_refused": "FetchRefusedError",
    "field_not_found": "FieldNotFoundError",
    "fixed": "FixedError",
    "grant_refused": "GrantRefusedError",
    "host_refused": "HostRefusedError",
    "idempotency_mismatch": "IdempotencyMismatchError",
    "import_order": "ImportOrderError",
    "import_refused": "ImportRefusedError",
    "import_runs": "ImportRunsError",
    "import_source": "ImportSourceError",
    "import_source_away": "ImportSourceAwayError",
    "import_source_denied": "ImportSourceDeniedError",
    "import_task": "ImportTaskError",
    "invalid_backup": "InvalidBackupError",
    "invalid_base64": "InvalidBase64Error",
    "invalid_checkpoint": "InvalidCheckpointError",
    "invalid_credential": "InvalidCredentialError",
    "invalid_cursor": "InvalidCursorError",
    "invalid_delivery_request": "InvalidDeliveryRequestError",
    "invalid_import_plan": "InvalidImportPlanError",
    "invalid_login": "InvalidLoginError",
    "invalid_stack_file": "InvalidStackFileError",
    "invalid_token_name": "InvalidTokenNameError",
    "invalid_wrapping_token": "InvalidWrappingTokenError",
    "issuer_in_use": "IssuerInUseError",
    "issuer_not_found": "IssuerNotFoundError",
    "issuer_taken": "IssuerTakenError",
    "key_missing": "KeyMissingError",
    "key_unshared": "KeyUnsharedError",
    "limit_reached": "LimitReachedError",
    "mongod_unavailable": "MongodUnavailableError",
    "mount_forbidden": "MountForbiddenError",
    "name_taken": "NameTakenError",
    "namespace_not_found": "NamespaceNotFoundError",
    "newest_version": "NewestVersionError",
    "not_delivered": "NotDeliveredError",
    "not_ready": "NotReadyError",
    "outside_paths": "OutsidePathsError",
    "overloaded": "OverloadedError",
    "profile": "ProfileError",
    "program": "ProgramError",
    "rate_limited": "RateLimitedError",
    "replica_set": "ReplicaSetError",
    "restore_refused": "RestoreRefusedError",
    "restore_unfinished": "RestoreUnfinishedError",
    "revocation_refused": "RevocationRefusedError",
    "rewrap_refused": "RewrapRefusedError",
    "role_name_taken": "RoleNameTakenError",
    "role_not_found": "RoleNotFoundError",
    "role_too_broad": "RoleTooBroadError",
    "rotation_failed": "RotationFailedError",
    "rotation_lock_lost": "RotationLockLostError",
    "rotation_refused": "RotationRefusedError",
    "rotation_running": "RotationRunningError",
    "rotation_superseded": "RotationSupersededError",
    "rotation_unhealthy": "RotationUnhealthyError",
    "scope_missing": "ScopeMissingError",
    "secret_busy": "SecretBusyError",
    "secret_not_deleted": "SecretNotDeletedError",
    "secret_not_found": "SecretNotFoundError",
    "secret_too_large": "SecretTooLargeError",
    "service_away": "ServiceAwayError",
    "service_refused": "ServiceRefusedError",
    "settings": "SettingsError",
    "socket_in_use": "SocketInUseError",
    "storage_unavailable": "StorageUnavailableError",
    "swarm_no_value": "SwarmNoValueError",
    "token_name_taken": "TokenNameTakenError",
    "token_not_found": "TokenNotFoundError",
    "token_not_renewable": "TokenNotRenewableError",
    "token_required": "TokenRequiredError",
    "too_large_for_batch": "TooLargeForBatchError",
    "too_many_keys": "TooManyKeysError",
    "too_many_matches": "TooManyMatchesError",
    "trail_index_missing": "TrailIndexMissingError",
    "transfer": "TransferError",
    "vault": "VaultError",
    "version_conflict": "VersionConflictError",
    "weak_idempotency_key": "WeakIdempotencyKeyError",
}


def errors() -> Iterator[type[VaultError]]:
    """Yield every error of the package, wherever it is defined."""
    for module in pkgutil.walk_packages(vault.__path__, "vault."):
        if module.name not in (
            "vault.server.gunicorn_conf",
            "vault.cli.__main__",
            "vault.server.__main__",
            "vault.observability.tracing",
        ):
            importlib.import_module(module.name)
    waiting: list[type[VaultError]] = [VaultError]
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        yield error


def test_every_error_has_its_own_kind() -> None:
    """No error inherits its kind, and no two share one."""
    found = {error: vars(error).get("kind") for error in errors()}
    assert [error for error, kind in found.items() if kind is None] == []
    assert len(set(found.values())) == len(found)


def test_the_names_of_errors_are_frozen() -> None:
    """The name of every error in metrics, logs and spans never changes."""
    assert {error.kind: error.shown_name() for error in errors()} == NAMES


def test_the_codes_of_refusals_are_frozen() -> None:
    """The `code` of replies and `refusals_total{reason=…}` never change: clients and alerts contain them."""
    assert sorted(REFUSALS) == [
        "address_refused",
        "audit_state",
        "audit_unavailable",
        "bad_request",
        "client_disconnected",
        "credential_required",
        "credentials_unavailable",
        "decryption",
        "defect",
        "delivery_refused",
        "expectation_failed",
        "expected_version_required",
        "grant_refused",
        "host_refused",
        "idempotency_mismatch",
        "invalid_base64",
        "invalid_credential",
        "invalid_cursor",
        "invalid_login",
        "invalid_token_name",
        "invalid_wrapping_token",
        "issuer_in_use",
        "issuer_not_found",
        "issuer_taken",
        "key_missing",
        "key_unshared",
        "limit_reached",
        "method_not_allowed",
        "mount_forbidden",
        "name_taken",
        "namespace_not_found",
        "newest_version",
        "not_found",
        "not_implemented",
        "not_ready",
        "outside_paths",
        "overloaded",
        "rate_limited",
        "request_entity_too_large",
        "request_header_fields_too_large",
        "request_timeout",
        "restore_unfinished",
        "revocation_refused",
        "role_name_taken",
        "role_not_found",
        "role_too_broad",
        "scope_missing",
        "secret_busy",
        "secret_not_deleted",
        "secret_not_found",
        "secret_too_large",
        "storage_unavailable",
        "token_name_taken",
        "token_not_found",
        "token_not_renewable",
        "token_required",
        "too_large_for_batch",
        "too_many_keys",
        "too_many_matches",
        "unprocessable_entity",
        "unsupported_media_type",
        "uri_too_long",
        "version_conflict",
        "weak_idempotency_key",
    ]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (http.UnprocessableEntity(), "unprocessable_entity"),
        (http.BadHost(), "bad_request"),
        (http.ClientDisconnected(), "client_disconnected"),
        (http.InternalServerError(), "defect"),
        (DuplicateNameError(), "defect"),
        (SecretNotFoundError(), "secret_not_found"),
        (KeyError(), "defect"),
    ],
    ids=repr,
)
def test_each_error_has_a_code(error: Exception, code: str) -> None:
    """An error in no table is a defect, and a subclass of an HTTP error counts as that error."""
    assert code_of(error) == code


def test_a_log_line_names_errors_by_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A logged error has its frozen name; one of Python's has its class name."""
    monkeypatch.setattr(DecryptionError, "kind", "made_up")
    for error, name in ((DecryptionError(), "MadeUpError"), (KeyError(), "KeyError")):
        try:
            raise error
        except (DecryptionError, KeyError):
            record = logging.LogRecord("vault", logging.ERROR, "", 0, "failed", (), sys.exc_info())
        assert f'"exception": ["{name}"' in logs.JsonFormatter().format(record)
