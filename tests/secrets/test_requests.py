"""Drafts of secrets, before they are stored."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.lifecycle import in_future
from vault.secrets.requests import NewSecret, limits

DRAFT = NewSecret(
    plaintext=b"the value", ttl_seconds=60, max_reads=2, name="a/b", labels={"b": "2", "a": "1"}
)

drafts = st.builds(
    NewSecret,
    plaintext=st.binary(min_size=1, max_size=4),
    ttl_seconds=st.none() | st.integers(1, 3),
    max_reads=st.none() | st.integers(1, 3),
    name=st.none() | st.sampled_from(["a", "b", "null"]),
    labels=st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["", "a", "b"])),
)


@given(first=drafts, second=drafts)
def test_the_canonical_form_distinguishes_drafts(first: NewSecret, second: NewSecret) -> None:
    """Two drafts have the same canonical form only if they are equal."""
    assert (first.canonical() == second.canonical()) == (first == second)


def test_the_order_of_labels_does_not_matter() -> None:
    """The same labels in another order are the same draft."""
    assert replace(DRAFT, labels={"a": "1", "b": "2"}).canonical() == DRAFT.canonical()


def test_a_representation_shows_no_plaintext() -> None:
    """The `repr` of a draft, as in debuggers and logs, does not show its value."""
    assert "the value" not in repr(DRAFT)


def test_each_secret_of_a_draft_is_unique() -> None:
    """A draft creates a new ID each time, in the requested namespace and with its limits."""
    first, second = DRAFT.secret("one"), DRAFT.secret("two")
    assert first.id != second.id
    assert (first.namespace, second.namespace) == ("one", "two")
    assert (first.name, first.max_reads, first.labels) == ("a/b", 2, ["a=1", "b=2"])
    assert in_future(seconds=30) < first.expires_at <= in_future(seconds=61)
    assert first.purge_at == first.expires_at


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ttl_seconds": None, "max_reads": None}, []),
        ({"ttl_seconds": None}, ["max_reads"]),
        ({}, ["expires_at", "max_reads"]),
    ],
    ids=str,
)
def test_an_entry_has_only_existing_limits(change: dict[str, Any], told: list[str]) -> None:
    """The entry of a new secret contains each limit that is set."""
    assert sorted(limits(replace(DRAFT, **change).secret("default"))) == told
