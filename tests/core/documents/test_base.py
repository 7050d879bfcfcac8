"""Documents are read whatever they contain; each failure to decrypt has one error and one counter."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, ObjectId, Regex, Timestamp

from tests.support.rotation import new_key
from vault.common import feature
from vault.common.errors import DecryptionError, KeyMissingError, VaultError
from vault.core.crypto import Binding, Keyring
from vault.core.documents import base
from vault.core.documents.base import BaseDocument
from vault.core.documents.token import Token

KEY, OTHER = new_key(), new_key()
KEYRING = Keyring(KEY)
BINDING = Binding(secret_id="a", version=1, namespace="default")
ENVELOPE = KEYRING.encrypt(b"value", BINDING)


@dataclass
class Stored:
    """A stored envelope with fields of any type."""

    envelope: Any = ENVELOPE
    key_id: Any = KEY.id


class Counter:
    """A metric that counts its increments."""

    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        """Count one more."""
        self.value += 1


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> dict[str, Counter]:
    """Replace the two counters of decryption failures."""
    found = {name: Counter() for name in ("DOES_NOT_VERIFY", "UNKNOWN_KEY")}
    for name, counter in found.items():
        monkeypatch.setattr(base.metrics, name, counter)
    return found


def test_a_genuine_envelope_decrypts(counters: dict[str, Counter]) -> None:
    """The plaintext comes back, and no failure is counted."""
    assert base.decrypt(Stored(), lambda: [BINDING], KEYRING) == (b"value", BINDING)
    assert {counter.value for counter in counters.values()} == {0}


@pytest.mark.parametrize(
    ("stored", "error", "counted"),
    [
        (Stored(key_id=OTHER.id), KeyMissingError, "UNKNOWN_KEY"),
        (Stored(key_id=None), DecryptionError, "DOES_NOT_VERIFY"),
        (Stored(key_id=[KEY.id]), DecryptionError, "DOES_NOT_VERIFY"),
        (Stored(envelope=7), DecryptionError, "DOES_NOT_VERIFY"),
        (Stored(envelope=ENVELOPE[:-1]), DecryptionError, "DOES_NOT_VERIFY"),
        (Stored(envelope=Keyring(OTHER).encrypt(b"value", BINDING)), DecryptionError, "DOES_NOT_VERIFY"),
    ],
    ids=["unknown key", "no key ID", "list of key IDs", "no bytes", "altered", "other key in the envelope"],
)
def test_a_failure_is_counted_by_its_reason(
    stored: Stored, error: type[VaultError], counted: str, counters: dict[str, Counter]
) -> None:
    """An unknown key and a value that does not verify have different errors and counters."""
    with pytest.raises(error):
        base.decrypt(stored, lambda: [BINDING], KEYRING)
    assert {name: counter.value for name, counter in counters.items()} == dict.fromkeys(counters, 0) | {
        counted: 1
    }


@pytest.mark.parametrize("fields", [{"version": "1"}, {"version": 2**80}, {"secret_id": 7}])
def test_a_binding_of_wrong_types_does_not_verify(
    fields: dict[str, Any], counters: dict[str, Counter]
) -> None:
    """A field of another type in the binding counts as a value that does not verify."""
    wrong = {"secret_id": "a", "version": 1, "namespace": "default", **fields}
    with pytest.raises(DecryptionError):
        base.decrypt(Stored(), lambda: [Binding(**wrong)], KEYRING)
    assert (counters["DOES_NOT_VERIFY"].value, counters["UNKNOWN_KEY"].value) == (1, 0)


#: One of each type, and what MongoEngine understands in it.
VALUES = (
    *(
        None,
        True,
        1,
        1.5,
        Int64(2**62),
        Decimal128("1"),
        "a",
        b"a",
        Binary(b"a", 4),
        Code("a"),
        Code("a", {"b": 1}),
    ),
    *(datetime.now(UTC), Timestamp(1, 1), ObjectId(), DBRef("a", 1), Regex("a"), MaxKey()),
    *(
        [],
        [1],
        [[1]],
        [None],
        {},
        {"a": 1},
        {"0": 1},
        {"_cls": "Role"},
        {"_cls": "Role", "_ref": DBRef("a", 1)},
    ),
    *([{"_cls": "Nonsense"}], [{"_cls": "Role", "_ref": DBRef("a", 1)}]),
)


@pytest.mark.parametrize("kind", [Token, *feature.documents()])
def test_a_document_is_read_whatever_its_fields_contain(kind: type[BaseDocument]) -> None:
    """No type in any field, and no field that MongoEngine takes for an argument, is an error."""
    names = [*kind._reverse_db_field_map, "_cls", "_created", "_auto_dereference", "$x", "a.b", "", "pk"]
    for name in names:
        for value in VALUES:
            assert isinstance(kind.of_stored({"_id": "a", name: value}), kind), (name, value)
