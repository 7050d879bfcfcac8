"""Errors: their names, and their rows in the tables of replies, documents and commands."""

import importlib
import logging
import pkgutil
import sys
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug import exceptions as http

import vault
from tests.support.features import tables
from vault.common import feature
from vault.common.errors import DecryptionError, DuplicateNameError, SecretNotFoundError, VaultError
from vault.common.feature import features, resolved
from vault.common.observability import logs
from vault.common.outcomes import Exit, Status
from vault.toolkit.document.errors import ERROR_DOCS
from vault.toolkit.http.refusals import REFUSALS, code_of, recorded_as

#: The codes of the core's replies by their status. Clients, alerts and dashboards contain them.
CODES = {
    400: "bad_request client_disconnected invalid_base64 invalid_wrapping_token too_many_keys",
    401: "credential_required invalid_credential",
    403: (
        "address_refused delivery_refused grant_refused outside_paths revocation_refused "
        "scope_missing token_required"
    ),
    404: "not_found secret_not_found token_not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: (
        "expected_version_required invalid_token_name limit_reached name_taken newest_version "
        "secret_not_deleted token_name_taken token_not_renewable version_conflict"
    ),
    413: "request_entity_too_large secret_too_large too_large_for_batch",
    414: "uri_too_long",
    415: "unsupported_media_type",
    417: "expectation_failed",
    421: "host_refused",
    422: (
        "idempotency_mismatch invalid_cursor too_many_matches unprocessable_entity use_rules_refused "
        "weak_idempotency_key"
    ),
    429: "rate_limited",
    431: "request_header_fields_too_large",
    500: "decryption defect",
    501: "not_implemented",
    503: (
        "audit_state audit_unavailable auth_state credentials_unavailable key_missing key_unshared "
        "keyring_file_unknown not_ready overloaded restore_unfinished secret_busy storage_unavailable"
    ),
}

#: Kinds of errors that only commands and the swarm driver have; a reply would call them a defect.
#: Those of a feature are in its tables.
IN_COMMANDS = {
    "access_denied",
    "ambiguous_token_name",
    "auth_in_use",
    "delivery_forbidden",
    "delivery_large_value",
    "delivery_service_away",
    "delivery_unsuitable_value",
    "deployment_failed",
    "docker_away",
    "docker_config_changed",
    "docker_failed",
    "docker_refused",
    "duplicate_name",
    "extra_missing",
    "fetch_denied",
    "fetch_refused",
    "field_not_found",
    "invalid_checkpoint",
    "invalid_delivery_request",
    "invalid_stack_file",
    "missing",
    "job_failed",
    "mongod_unavailable",
    "no_socket",
    "not_delivered",
    "outdated",
    "profile",
    "program",
    "refused_input",
    "rewrap_refused",
    "rotation_failed",
    "rotation_lock_lost",
    "rotation_refused",
    "rotation_running",
    "rotation_superseded",
    "rotation_unhealthy",
    "service_away",
    "service_refused",
    "settings",
    "shares_refused",
    "socket_in_use",
    "swarm_no_value",
    "trail_index_missing",
    "transfer",
    "vault",
}.union(*tables("IN_COMMANDS"))

#: Codes that no response in the document has: of Vault's API, of an item of a batch, of other paths and
#: transfer codings, and without a client.
UNDOCUMENTED = {
    *("invalid_wrapping_token", "too_many_keys"),
    *("too_large_for_batch", "not_found", "not_implemented", "client_disconnected"),
}


def errors() -> Iterator[type[VaultError]]:
    """Yield every error of the package, wherever it is defined."""
    for module in pkgutil.walk_packages(vault.__path__, "vault."):
        if module.name not in (
            "vault.server.gunicorn_conf",
            "vault.cli.__main__",
            "vault.server.__main__",
            "vault.common.observability.tracing",
            *set[str]().union(*tables("APART")),
        ):
            importlib.import_module(module.name)
    waiting: list[type[VaultError]] = [VaultError]
    while waiting:
        error = waiting.pop()
        waiting += error.__subclasses__()
        yield error


def test_every_error_has_its_own_kind() -> None:
    """No two errors share a kind."""
    kinds = [error.kind for error in errors()]
    assert len(set(kinds)) == len(kinds)


def test_every_error_has_one_row_everywhere(client: FlaskClient) -> None:
    """Each error is in one table: of replies, with a documented response, or of commands.

    The names of the core are frozen: a renamed class is in no table.
    """
    of_features = {error.kind for error in feature.errors()}
    codes = {code: refusal.status for code, refusal in REFUSALS.items() if code not in of_features}
    assert codes == {code: status for status, names in CODES.items() for code in names.split()}
    assert {error.kind for error in errors()} - REFUSALS.keys() == IN_COMMANDS
    assert len({refusal.title for refusal in REFUSALS.values()}) == len(REFUSALS)
    blueprints = resolved(path for feature in features() for path in feature.blueprints)
    docs = dict(ERROR_DOCS)
    for blueprint in blueprints:
        docs |= blueprint.error_docs
    responses = client.get("/openapi.json").json["components"]["responses"]
    documented = {code for name in responses for code in docs[name].codes}
    # Raised by features only, which share it.
    undocumented = UNDOCUMENTED if features() else {*UNDOCUMENTED, "limit_reached"}
    assert documented == REFUSALS.keys() - undocumented


@pytest.mark.parametrize("name", ERROR_DOCS)
def test_a_documented_response_has_one_status(name: str) -> None:
    """All refusals of a response in the document have its status, and none is there twice."""
    codes = ERROR_DOCS[name].codes
    assert {REFUSALS[code].status for code in codes} == {ERROR_DOCS[name].status}
    assert len(set(codes)) == len(codes)


def test_an_error_has_a_name_as_an_exception_type() -> None:
    """The name in logs and spans follows from the kind, not from the class."""
    assert {error.shown_name() for error in errors() if error.kind.endswith("away")} >= {
        *("DeliveryServiceAwayError", "DockerAwayError", "ServiceAwayError")
    }


@pytest.mark.parametrize("error", [*errors()], ids=lambda error: error.kind)
def test_an_outcome_fits_the_status_and_the_exit_code(error: type[VaultError]) -> None:
    """Only failures of the service are errors in the audit trail, and refusals exit with 3 or 4."""
    outcome = error.outcome
    if outcome in (Status.NOT_FOUND, Status.DENIED):
        # Without its arguments: the code is that of the class.
        assert error.__new__(error).exit_code is Exit[outcome.name]
    if error.kind == "credentials_unavailable" or error.kind not in REFUSALS:
        return
    status = REFUSALS[error.kind].status
    assert (outcome is Status.ERROR) == (status >= 500)
    assert outcome is not Status.NOT_FOUND or status == 404
    assert outcome is Status.DENIED or status not in (401, 403)


def test_a_defect_is_an_error_in_the_trail() -> None:
    """An unexpected exception is recorded as a failure of the service."""
    assert recorded_as(KeyError("defect")) is Status.ERROR


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
