"""The master keys that stored secrets need, and the secrets under one of them."""

from typing import Any

import pytest
from bson import Code

from tests.support.rotation import Stored, fill, new_key, versioned
from vault.core.crypto import MasterKey
from vault.core.documents import indexes
from vault.core.documents.keys_in_use import stored_key_ids, stored_versions
from vault.core.keys import rewrap

OLD, NEW, FOREIGN = (new_key() for _ in range(3))


pytestmark = pytest.mark.usefixtures("database")


def test_the_keys_of_stored_secrets_are_counted(stored: Stored) -> None:
    """Each key that secrets need is listed with its number of secrets."""
    fill(stored, OLD, 3)
    fill(stored, NEW, 2)
    assert stored_key_ids() == {OLD.id, NEW.id}
    assert [stored_versions(key.id) for key in (OLD, NEW, FOREIGN)] == [3, 2, 0]


def test_key_ids_of_other_types_belong_to_no_key(stored: Stored) -> None:
    """A key ID that is stored as another type is ignored, and never an error; BSON's code has no hash."""
    fill(stored, OLD, 1)
    for number, other in enumerate((Code(NEW.id), 5, None, [], [[NEW.id]], {"key_id": NEW.id})):
        stored.secrets.insert_one({"_id": f"other-{number}", "key_id": other, "older": [{"key_id": other}]})
    assert stored_key_ids() == {OLD.id}


@pytest.mark.parametrize("known", [[], [OLD], [OLD, NEW]], ids=len)
def test_no_stored_value_hides_another_key(stored: Stored, known: list[MasterKey]) -> None:
    """Every key in use is found next to any other value: of a newest or older version, or the token key."""
    third, fourth = sorted((new_key() for _ in range(2)), key=lambda key: key.id)
    fill(stored, OLD, 3)
    versioned(stored, OLD, third, NEW, OLD)
    for number, other in enumerate(("", "z", [OLD.id], [third.id, OLD.id], ["a", 5])):
        stored.secrets.insert_one({"_id": f"other-{number}", "key_id": other, "older": [{"key_id": other}]})
    stored.token_keys.insert_one({"_id": "tokens", "key_id": fourth.id})
    found = {OLD.id, NEW.id, third.id, fourth.id, "", "z", "a"}
    assert stored_key_ids(key.id for key in known) == found - {key.id for key in known}


def test_a_search_ends_before_all_of_many_ids(stored: Stored) -> None:
    """However many IDs someone puts into the database, a search for keys in use is short, and finds some."""
    stored.secrets.insert_many([{"_id": str(number), "key_id": f"{number:016x}"} for number in range(102)])
    stored.token_keys.insert_one({"_id": "tokens", "key_id": OLD.id})
    assert len(stored_key_ids([NEW.id])) == 100


def profiled(stored: Stored, act: Any) -> list[dict[str, Any]]:
    """Return MongoDB's profile of the operations of *act*."""
    stored.command("profile", 2)
    act()
    stored.command("profile", 0)
    return list(stored["system.profile"].find({"ns": stored.secrets.full_name}))


def test_the_check_is_cheap(stored: Stored) -> None:
    """Finding the keys in use costs one index seek per key, and counting their secrets reads none."""
    fill(stored, OLD, 300)
    fill(stored, NEW, 300)
    operations = profiled(stored, lambda: stored_versions(OLD.id))
    assert operations
    for operation in operations:
        assert "COLLSCAN" not in operation["planSummary"]
        assert operation["docsExamined"] == 0
    stored["system.profile"].drop()
    # After lists in place of IDs, for example of another test, MongoDB's indexes no longer seek ranges.
    stored.secrets.drop()
    indexes.build(audit_ttl_days=0)
    fill(stored, OLD, 300)
    for number in range(40):
        versioned(stored, (OLD, NEW)[number % 2], NEW)
    for known, seeks in (([], 2), ([OLD.id], 1), ([OLD.id, NEW.id], 0)):
        stored["system.profile"].drop()
        operations = profiled(stored, lambda known=known: stored_key_ids(known))
        assert len(operations) == seeks + 2
        for operation in operations:
            assert "COLLSCAN" not in operation["planSummary"]
            assert operation["keysExamined"] <= 3
            assert operation["docsExamined"] <= 1


def test_the_next_secrets_of_a_key_are_not_sorted(stored: Stored) -> None:
    """A rewrap finds each batch by the index, in its order."""
    fill(stored, OLD, 300)
    fill(stored, NEW, 300)
    for number in range(20):
        versioned(stored, OLD, NEW, id=f"9{number:07}-0000-4000-8000-000000000000")
    newest, older = profiled(stored, lambda: rewrap.under_key(OLD.id, after="8", limit=10))
    assert newest["planSummary"] == "IXSCAN { key_id: 1, _id: 1 }"
    assert older["planSummary"] == "IXSCAN { older.key_id: 1, _id: 1 }"
    for operation in (newest, older):
        assert operation["docsExamined"] == 10
        assert "hasSortStage" not in operation


def test_a_batch_has_newest_and_older_versions_in_order(stored: Stored) -> None:
    """A batch lists secrets once, by ID, whether the key is the newest version's or an older one's."""
    ids = [
        *fill(stored, OLD, 7),
        *(versioned(stored, *keys)[0] for keys in [(OLD, NEW), (OLD, OLD), (NEW, OLD)] * 3),
    ]
    fill(stored, NEW, 5)
    versioned(stored, NEW, NEW)
    found: list[str] = []
    while batch := rewrap.under_key(OLD.id, after=found[-1] if found else "", limit=3):
        found += [secret.id for secret in batch]
    assert found == sorted(ids)
