"""The standing of a keyring file without MACs, by what the database knows."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.rotation import Stored, new_key
from vault.common.errors import KeyringFileUnknownError
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import Database, registry
from vault.core.documents.registry import ServedFiles
from vault.core.keys.standing import Standing, require_known_primary, require_standing, standing, unknown_keys
from vault.core.principal import OPERATOR
from vault.core.trail.writer import AuditTrail

OWN, FALLBACK, OTHER = new_key(), new_key(), new_key()


@pytest.fixture
def trail(database: Database) -> Iterator[AuditTrail]:  # noqa: ARG001 - the fixture connects
    """Begin a trail under `OWN`, which endorses `FALLBACK`."""
    trail = AuditTrail(Keyring(OWN, [FALLBACK]))
    trail.connect()
    trail.start()
    yield trail
    trail.disconnect()


def ring(*keys: MasterKey) -> Keyring:
    """Return the keyring of a file without MACs, whose hash is `this`."""
    return Keyring(keys[0], keys[1:], file="this", is_confirmed=False)


def changed(digest: str) -> None:
    """Record a change to the file with *digest*."""
    details = {"file": digest, "is_newest": True}
    Attempt(action=Action.CUSTODY_CHANGED, principal=OPERATOR, details=details).finish(Status.SUCCESS)


@pytest.mark.usefixtures("database")
def test_a_database_without_a_trail_knows_no_key() -> None:
    """Before the first start, a file with any keys is as good; one that its keys confirm always is."""
    assert standing(ring(OTHER)) is Standing.NEW
    assert unknown_keys(ring(OTHER)) is None
    assert require_known_primary(ring(OTHER)) == []
    registry.add_served_file("", is_confirmed=True)
    assert standing(ring(OTHER)) is Standing.REFUSED
    assert standing(Keyring(OTHER, file="this")) is Standing.CONFIRMED
    with pytest.raises(KeyringFileUnknownError):
        require_standing(ring(OTHER))


@pytest.mark.usefixtures("trail")
def test_a_trail_knows_its_signer_and_what_that_has_endorsed(stored: Stored) -> None:
    """A key that is neither makes a file another one; also if an earlier version recorded no signer."""
    for _ in range(2):
        assert standing(ring(FALLBACK, OWN)) is Standing.KNOWN
        with pytest.raises(KeyringFileUnknownError, match=OTHER.id):
            require_standing(ring(OWN, OTHER))
        assert require_known_primary(ring(OWN, OTHER)) == [OTHER.id]
        with pytest.raises(KeyringFileUnknownError, match=OTHER.id):
            require_known_primary(ring(OTHER, OWN))
        changed("another one")
        stored["keys"].update_one({"_id": "claims"}, {"$unset": {"trail.signer": ""}})
    registry.set_trail_enabled(enabled=False)
    assert standing(ring(OTHER)) is Standing.NEW


@pytest.mark.usefixtures("trail")
def test_a_file_that_was_served_or_is_the_newest_on_record_is_known() -> None:
    """Its keys do not matter, nor does it that one with MACs was served meanwhile."""
    registry.add_served_file("", is_confirmed=True)
    assert standing(ring(OWN)) is Standing.REFUSED
    changed("this")
    assert standing(ring(OWN, OTHER)) is Standing.KNOWN
    changed("another one")
    assert standing(ring(OWN)) is Standing.REFUSED
    registry.add_served_file("this", is_confirmed=False)
    registry.add_served_file("this", is_confirmed=False)
    assert standing(ring(OWN, OTHER)) is Standing.KNOWN
    assert registry.served_files() == ServedFiles(confirmed=True, unconfirmed=frozenset({"this"}))


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("value", [1, "x", {"confirmed": 1, "unconfirmed": "x"}, {"unconfirmed": [1, {}]}])
def test_a_record_of_another_form_says_nothing(stored: Stored, value: Any) -> None:
    """Someone can store anything there; the next record replaces it."""
    stored["keys"].update_one({"_id": "claims"}, {"$set": {"custody": value}}, upsert=True)
    assert registry.served_files() == ServedFiles(confirmed=False, unconfirmed=frozenset())
    registry.add_served_file("this", is_confirmed=False)
    registry.add_served_file("", is_confirmed=True)
    found = registry.served_files()
    assert found == ServedFiles(confirmed=True, unconfirmed=frozenset({"this"}))
