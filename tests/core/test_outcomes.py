"""Outcomes of errors in the audit trail."""

import pytest

from tests.core.test_errors import errors
from vault.api.http.refusals import REFUSALS
from vault.core.attempt import Status
from vault.core.errors import AmbiguousTokenNameError, VaultError
from vault.core.outcomes import _OUTCOMES, outcome_of

_REFUSED = {error.kind: error for error in errors() if error.kind in REFUSALS}


@pytest.mark.parametrize("code", sorted(_REFUSED))
def test_only_failures_of_the_service_are_errors(code: str) -> None:
    """Over HTTP, refusals with a status from 500 on have the outcome `error`, and all others another one."""
    # Without its arguments: the kind is that of the class.
    found = outcome_of(VaultError.__new__(_REFUSED[code]))
    if code == "credentials_unavailable":
        # Anyone can send forged credentials, so these are counted like other denials.
        assert found is Status.DENIED
    else:
        assert (found is Status.ERROR) == (REFUSALS[code].status >= 500)
        assert found is not Status.NOT_FOUND or REFUSALS[code].status == 404
        assert found is Status.DENIED or REFUSALS[code].status not in (401, 403)


def test_every_kind_with_an_outcome_exists() -> None:
    """A renamed kind cannot lose its outcome."""
    assert {error.kind for error in errors()} >= _OUTCOMES.keys()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (KeyError("defect"), Status.ERROR),
        (VaultError(), Status.ERROR),
        (AmbiguousTokenNameError(), Status.BAD_REQUEST),
    ],
    ids=repr,
)
def test_errors_that_no_reply_has(error: Exception, outcome: Status) -> None:
    """A defect is a failure of the service; what only a command refuses is not."""
    assert outcome_of(error) is outcome
