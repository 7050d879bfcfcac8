"""The one check of namespace and paths."""

from typing import Any

import pytest

from tests.support.lifecycle import UNKNOWN_ID
from vault.core.attempt import Action, Attempt
from vault.core.errors import OutsidePathsError, SecretNotFoundError
from vault.core.paths import Paths
from vault.core.principal import Principal
from vault.documents.stored_secret import StoredSecret
from vault.secrets import reach

LIMITED = Principal(name="limited", namespace="team-a", paths=Paths.of(["billing/"]))


@pytest.fixture
def attempt() -> Attempt:
    """Return an attempt of a principal with a namespace and paths."""
    return Attempt(action=Action.FETCH, principal=LIMITED)


def secret(**fields: Any) -> StoredSecret:
    return StoredSecret({"_id": UNKNOWN_ID, "namespace": "team-a", "name": "billing/db", **fields})


def test_a_reached_secret_is_on_record(attempt: Attempt) -> None:
    """A secret within namespace and paths is returned; the attempt has its ID, name and namespace."""
    found = secret()
    assert reach.reached(found, attempt) is found
    assert attempt.secret_id == UNKNOWN_ID
    assert attempt.details == {"name": "billing/db", "namespace": "team-a"}


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"name": "other"}, {"name": "other", "namespace": "team-a", "reason": "outside the paths"}),
        ({"name": None}, {"reason": "outside the paths"}),
        ({"name": ["billing/db"]}, {"reason": "outside the paths"}),
        (
            {"namespace": "team-b"},
            {"name": "billing/db", "namespace": "team-b", "reason": "another namespace"},
        ),
        ({"namespace": ["team-a"]}, {"name": "billing/db", "namespace": "", "reason": "another namespace"}),
        (
            {"namespace": "team-b", "name": None},
            {"namespace": "team-b", "reason": "another namespace"},
        ),
    ],
    ids=str,
)
def test_another_secret_is_refused_with_a_reason(
    attempt: Attempt, fields: dict[str, Any], details: dict[str, Any]
) -> None:
    """A secret outside the namespace or the paths is not found, and the attempt says why."""
    with pytest.raises(SecretNotFoundError):
        reach.reached(secret(**fields), attempt)
    assert attempt.details == details


def test_a_missing_secret_has_no_reason(attempt: Attempt) -> None:
    """A secret that does not exist is not found, and nothing is recorded of it."""
    with pytest.raises(SecretNotFoundError):
        reach.reached(None, attempt)
    assert attempt.details == {}


def test_a_new_secret_has_to_be_within_the_paths(attempt: Attempt) -> None:
    """A new secret outside the paths, or without a name, is refused with an error of its own."""
    reach.require_within("billing/new", attempt)
    for name in ("other", None):
        with pytest.raises(OutsidePathsError):
            reach.require_within(name, attempt)
    assert attempt.details["reason"] == "outside the paths"
