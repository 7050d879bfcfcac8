"""Errors: their names, and their rows in the tables of replies, documents and commands."""

import importlib
import logging
import pkgutil
import sys
from collections.abc import Iterator

import pytest
from werkzeug import exceptions as http

import vault
from tests.support.features import tables
from vault.common.errors import DecryptionError, DuplicateNameError, SecretNotFoundError, VaultError
from vault.common.feature import features, resolved
from vault.common.observability import logs
from vault.common.outcomes import Exit, Status
from vault.toolkit.document.errors import ERROR_DOCS
from vault.toolkit.http.refusals import REFUSALS, code_of, recorded_as

#: Codes of replies for errors of HTTP, and for defects.
OF_HTTP = {
    "bad_request",
    "client_disconnected",
    "defect",
    "expectation_failed",
    "method_not_allowed",
    "not_found",
    "not_implemented",
    "request_entity_too_large",
    "request_header_fields_too_large",
    "request_timeout",
    "unprocessable_entity",
    "unsupported_media_type",
    "uri_too_long",
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


def test_every_error_has_one_row_everywhere() -> None:
    """Each error is in one table: of replies, with a documented response, or of commands. Names are frozen.

    Clients, alerts and dashboards contain these names. A renamed class is in no table.
    """
    in_replies = REFUSALS.keys() - OF_HTTP
    assert {error.kind for error in errors()} == in_replies | IN_COMMANDS, (
        "a new kind is in REFUSALS of vault/toolkit/http/refusals.py, has a refusal, or is in IN_COMMANDS"
    )
    assert in_replies.isdisjoint(IN_COMMANDS)
    assert REFUSALS.keys() >= OF_HTTP
    assert len({refusal.title for refusal in REFUSALS.values()}) == len(REFUSALS)
    blueprints = resolved(path for feature in features() for path in feature.blueprints)
    tables = [ERROR_DOCS, *(blueprint.error_docs for blueprint in blueprints)]
    documented = {code for table in tables for response in table.values() for code in response.codes}
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
