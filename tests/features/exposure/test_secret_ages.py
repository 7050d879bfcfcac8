"""The ages of secrets: old values, and secrets that expire soon."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.rotation import Stored
from vault.features.exposure.ages import MAX_ROWS, SecretAges, secret_ages

# Far ahead: MongoDB removes what has expired by its own clock.
NOW = datetime(2200, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.usefixtures("database")


def put(stored: Stored, secret_id: str, *, age: int = 1, **fields: Any) -> None:
    made = {"_id": secret_id, "namespace": "default", "created_at": NOW - age * DAY}
    stored.secrets.insert_one(made | fields)


def ages() -> SecretAges:
    return secret_ages(NOW, soon=30 * DAY)


def expiring(days: int) -> dict[str, datetime]:
    return {"expires_at": NOW + days * DAY, "purge_at": NOW + days * DAY}


def test_secrets_are_counted_by_the_age_of_their_values(stored: Stored) -> None:
    """The age is that of the newest value; the oldest values come first, and an unknown age is the oldest."""
    put(stored, "new")
    put(stored, "updated", age=500, updated_at=NOW - 40 * DAY)
    put(stored, "old", age=400, name="billing/db")
    put(stored, "unknown", created_at="yesterday")
    found = ages()
    assert found.count == 4
    assert {age: number for age, number in found.ages.items() if number} == {
        "under 7 days": 1,
        "under 90 days": 1,
        "365 days or more": 2,
    }
    assert [(secret.id, secret.name) for secret in found.oldest] == [
        ("unknown", None),
        ("old", "billing/db"),
        ("updated", None),
        ("new", None),
    ]


def test_what_expires_soon_is_listed(stored: Stored) -> None:
    """Secrets that expire within the time are counted and listed, the first of them first."""
    for days in (29, 3, 31):
        put(stored, f"in {days}", **expiring(days))
    found = ages()
    assert found.expiring_count == 2
    assert [(secret.id, secret.expires_at) for secret in found.expiring] == [
        ("in 3", NOW + 3 * DAY),
        ("in 29", NOW + 29 * DAY),
    ]


def test_only_secrets_that_can_be_read_count(stored: Stored) -> None:
    """Deleted, expired and unpublished secrets, and wrapped replies, have no age."""
    put(stored, "live")
    put(stored, "deleted", deleted_at=NOW)
    put(stored, "expired", expires_at=NOW - DAY)
    put(stored, "unpublished", pending=True)
    put(stored, "wrapped", namespace="wrapped:replies", **expiring(2))
    put(stored, "forged", namespace=7)
    found = ages()
    assert (found.count, found.deleted, found.expiring_count) == (1, 1, 0)
    assert [secret.id for secret in found.oldest] == ["live"]


def test_lists_are_bounded(stored: Stored) -> None:
    """However many secrets there are, lists have few rows; the counts are complete."""
    for number in range(MAX_ROWS + 3):
        put(stored, str(number), **expiring(2))
    found = ages()
    assert (len(found.oldest), len(found.expiring)) == (MAX_ROWS, MAX_ROWS)
    assert (found.count, found.expiring_count) == (MAX_ROWS + 3, MAX_ROWS + 3)
