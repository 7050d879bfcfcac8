"""The collections of the service's database."""

from tests.support.lifecycle import Caller
from tests.support.rotation import Stored
from vault.documents.collections import collections


def test_every_collection_has_its_place(alice: Caller, stored: Stored) -> None:
    """Every collection of the service is listed, and so kept in backups or temporary."""
    secret_id = alice("create", secret="YQ==", name="a")["secret_id"]
    alice.post("create", {"secret": "YQ=="}, **{"Idempotency-Key": "key"})
    assert alice.fetch(secret_id)
    assert set(stored.list_collection_names()) <= set(collections())
