"""New secrets, before they are stored."""

import json
from base64 import b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.lifecycle import UNKNOWN_ID, in_future
from vault.core.attributes import Description
from vault.secrets.requests import NewSecret, derive_ids, limit_details

VECTORS = Path(__file__).parents[1] / "vectors" / "new-secret-1.json"
NEW = NewSecret(
    plaintext=b"the value",
    ttl_seconds=60,
    max_reads=2,
    name="a/b",
    description=Description({"labels": {"b": "2", "a": "1"}}),
)

new_secrets = st.builds(
    NewSecret,
    plaintext=st.binary(min_size=1, max_size=4),
    ttl_seconds=st.none() | st.integers(1, 3),
    max_reads=st.none() | st.integers(1, 3),
    name=st.none() | st.sampled_from(["a", "b", "null"]),
    description=st.builds(
        lambda labels: Description.of({"labels": labels}),
        st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["", "a", "b"])),
    ),
    canary=st.booleans(),
)


@given(first=new_secrets, second=new_secrets)
def test_the_canonical_form_distinguishes_new_secrets(first: NewSecret, second: NewSecret) -> None:
    """Two new secrets have the same canonical form only if they are equal."""
    assert (first.canonical() == second.canonical()) == (first == second)


def test_the_order_of_labels_does_not_matter() -> None:
    """The same labels in another order are the same new secret."""
    assert (
        replace(NEW, description=Description({"labels": {"a": "1", "b": "2"}})).canonical() == NEW.canonical()
    )


def test_the_canonical_form_is_pinned() -> None:
    """The form of a request stays the same, or a repeated create with its idempotency key would be refused.

    A new field must not be in it unless it is set: see `rules`.
    """
    for vector in json.loads(VECTORS.read_text()):
        fields = vector["fields"]
        description = Description.of({"labels": fields.pop("labels", {})})
        new = NewSecret(**{**fields, "plaintext": b64decode(fields["plaintext"])}, description=description)
        assert new.canonical().decode() == vector["canonical"], "leave out a new field that is not set"


def test_a_representation_shows_no_plaintext() -> None:
    """The `repr` of a new secret, as in debuggers and logs, does not show its value."""
    assert "the value" not in repr(NEW)


def test_each_document_of_a_new_secret_is_unique() -> None:
    """Each document has its ID, the requested namespace and the limits."""
    first, second = NEW.document("one", "id-1"), NEW.document("two", "id-2")
    assert (first.id, second.id) == ("id-1", "id-2")
    assert (first.namespace, second.namespace) == ("one", "two")
    assert (first.name, first.max_reads, first.description) == ("a/b", 2, NEW.description)
    assert in_future(seconds=30) < first.expires_at <= in_future(seconds=61)
    assert first.purge_at == first.expires_at


def test_the_ids_of_a_batch_are_random_uuids() -> None:
    """The IDs of a batch are version-4 UUIDs; those of another batch have nothing in common with them."""
    ids = derive_ids(UNKNOWN_ID, 100)
    assert len({*ids, *derive_ids(UNKNOWN_ID.replace("0", "1"), 100)}) == 200
    assert {(secret_id[14], secret_id[19] in "89ab") for secret_id in ids} == {("4", True)}
    # Pinned: a replica of the next release removes what a killed one of this release has stored.
    pinned = ["f1df8abf-385f-43da-89a6-05ef41e48462", "ed41cbf8-1c7f-4351-8773-9f3b11771021"]
    assert ids[:2] == pinned


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ttl_seconds": None, "max_reads": None}, []),
        ({"ttl_seconds": None}, ["max_reads"]),
        ({}, ["expires_at", "max_reads"]),
    ],
    ids=str,
)
def test_an_entry_has_only_existing_limits(change: dict[str, Any], expected: list[str]) -> None:
    """The entry of a new secret contains each limit that is set."""
    assert sorted(limit_details(replace(NEW, **change).document("default", "id"))) == expected
