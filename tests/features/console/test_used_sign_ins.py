"""Sign-ins that have been used."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NoReturn

import pytest
from pymongo.errors import DuplicateKeyError

from tests.support.rotation import Stored
from vault.core.documents.base import IDEMPOTENCY_COLLECTION
from vault.features.console import documents

pytestmark = pytest.mark.usefixtures("app")


def test_a_sign_in_is_used_once(stored: Stored) -> None:
    """Only the first use of each succeeds, and MongoDB removes its record after the time of all."""
    assert [documents.use_sign_in(digest) for digest in ("a", "a", "b", "a", "b")] == [
        True,
        False,
        True,
        False,
        False,
    ]
    used = stored[IDEMPOTENCY_COLLECTION].find_one({"_id": "a"})
    assert used is not None
    assert abs((datetime.now(UTC) - used["created_at"]).total_seconds()) < 600


def test_of_simultaneous_uses_one_is_the_first() -> None:
    """However many replicas are asked at the same time, one of them goes on."""
    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(documents.use_sign_in, ["c"] * 64)) == 1


def test_a_use_that_another_one_overtakes_is_not_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """MongoDB can refuse one of two simultaneous inserts."""

    class Collection:
        def update_one(self, *_: object, **_options: object) -> NoReturn:
            raise DuplicateKeyError("taken")

    monkeypatch.setattr(documents, "get_db", lambda: {IDEMPOTENCY_COLLECTION: Collection()})
    assert not documents.use_sign_in("d")
