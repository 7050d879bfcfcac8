"""New secrets, before they are stored."""

import json
from base64 import b64decode
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.support.lifecycle import UNKNOWN_ID
from vault.common.attributes import Description
from vault.core.secrets.changes import Current
from vault.core.secrets.requests import NewSecret, derive_ids

VECTORS = Path(__file__).parents[2] / "vectors" / "new-secret-1.json"
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
    """The `repr` of a new or changed secret, as in debuggers and logs, does not show its value."""
    assert "the value" not in repr(NEW)
    assert "the value" not in repr(Current(b"the value", None, NEW.description))


def test_the_ids_of_a_batch_are_random_uuids() -> None:
    """The IDs of a batch are version-4 UUIDs; those of another batch have nothing in common with them."""
    ids = derive_ids(UNKNOWN_ID, 100)
    assert len({*ids, *derive_ids(UNKNOWN_ID.replace("0", "1"), 100)}) == 200
    assert {(secret_id[14], secret_id[19] in "89ab") for secret_id in ids} == {("4", True)}
    # Pinned: a replica of the next release removes what a killed one of this release has stored.
    pinned = ["f1df8abf-385f-43da-89a6-05ef41e48462", "ed41cbf8-1c7f-4351-8773-9f3b11771021"]
    assert ids[:2] == pinned
