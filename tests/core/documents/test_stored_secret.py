"""Secrets as they are read, whatever their documents contain."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from vault.common.errors import DecryptionError, KeyMissingError
from vault.core.crypto import Keyring
from vault.core.documents import Secret
from vault.core.documents.stored_secret import StoredSecret, VersionInfo
from vault.core.documents.write_rules import WriteRules

PLAINTEXT = b"the plaintext nobody may find"
NOW = datetime(2026, 11, 24, 15, 30, tzinfo=UTC)
OF_OTHER_TYPES: list[object] = ["text", 5, 1.5, True, [], ["text"], {}, {"version": 1}, b"bytes", NOW]


@pytest.fixture
def document(keyring: Keyring) -> dict[str, Any]:
    """Return the document of a secret."""
    secret = Secret(id="550e8400-e29b-41d4-a716-446655440000", created_at=NOW)
    secret.set_plaintext(PLAINTEXT)
    secret.encrypt(keyring)
    return secret.to_mongo().to_dict()


@pytest.mark.parametrize(
    "field", sorted({"held_reads", *(field.db_field for field in Secret._fields.values())})
)
def test_a_field_of_any_type_is_decoded(document: dict[str, Any], keyring: Keyring, field: str) -> None:
    """Attributes have their declared types whatever a field holds; decryption raises its own errors only."""
    for value in OF_OTHER_TYPES:
        stored = StoredSecret({**document, field: value})
        assert_is_decoded(stored)
        try:
            assert stored.decrypt(keyring) == PLAINTEXT
        except (DecryptionError, KeyMissingError):
            assert field in (
                *("_id", "namespace", "version", "envelope", "key_id", "expires_at", "max_reads", "name"),
                "use_rules",
            )


def assert_is_decoded(stored: StoredSecret) -> None:
    """Assert that all attributes have their declared types."""
    assert isinstance(stored.id, str)
    assert isinstance(stored.namespace, str)
    assert isinstance(stored.name, str | None)
    for number in (stored.max_reads, stored.reads, stored.version, *stored.purged_versions):
        assert number is None or type(number) is int
    for time in (stored.created_at, stored.newest.created_at, stored.expires_at, stored.deleted_at):
        assert isinstance(time, datetime | None)
    for version in stored.versions:
        assert isinstance(version.envelope, bytes)
        assert isinstance(version.key_id, str)
    assert all(isinstance(text, str) for label in stored.description.pairs.items() for text in label)
    assert isinstance(stored.rules, WriteRules)
    assert all(isinstance(token, str) for token in stored.held_tokens)
    assert type(stored.is_visible(NOW)) is type(stored.is_restorable(NOW)) is bool
    assert type(stored.is_readable(stored.version, NOW)) is bool
    assert type(stored.metadata_version) is int
    assert stored.states == []
    for info in stored.infos:
        assert type(info.version) is int
        assert isinstance(info.created_at, datetime | None)


def state(version: object = 1, **fields: object) -> dict[str, object]:
    """Return the stored state of a version."""
    return {"version": version, "created_at": NOW, "deleted_at": None, **fields}


@pytest.mark.parametrize(
    "state",
    [
        *({"reads": "many"}, {"deleted_at": "yes"}, {"pending": "yes"}),
        *(
            {"states": "many"},
            {"states": None},
            {"states": {"version": 1}},
            {"states": [1]},
            {"states": [{}]},
        ),
        *({"states": [state(True)]}, {"states": [state(1.0)]}, {"states": [state(created_at="yes")]}),
        *({"states": [state(deleted_at=5)]}, {"states": [state(), {"version": 2}]}),
    ],
    ids=str,
)
def test_an_unknown_state_hides_a_secret(
    document: dict[str, Any], keyring: Keyring, state: dict[str, Any]
) -> None:
    """A secret whose state the service did not write is hidden from readers, and its value still decrypts."""
    assert StoredSecret(document).is_visible(NOW)
    stored = StoredSecret(document | state)
    assert not stored.is_visible(NOW)
    assert stored.decrypt(keyring) == PLAINTEXT


def test_missing_fields_of_the_first_release_have_defaults(
    document: dict[str, Any], keyring: Keyring
) -> None:
    """A document without a namespace and a version is the first version, in the default namespace."""
    del document["namespace"], document["version"]
    assert StoredSecret(document).decrypt(keyring) == PLAINTEXT


def with_versions(**fields: Any) -> StoredSecret:
    """Return a secret with the versions 2 to 4, whose times are their numbers in minutes."""
    older = [{"version": number, "created_at": at(number)} for number in (2, 3)]
    return StoredSecret({"version": 4, "created_at": at(1), "updated_at": at(4), "older": older, **fields})


def at(minute: int) -> datetime:
    return NOW.replace(minute=minute)


def test_infos_are_of_all_versions() -> None:
    """Kept and purged versions are listed newest first, with times and states."""
    stored = with_versions(
        states=[state(3, created_at=at(3), deleted_at=at(9)), state(1, created_at=at(1))], purged=[1]
    )
    assert stored.infos == [
        VersionInfo(version=4, created_at=at(4)),
        VersionInfo(version=3, created_at=at(3), deleted_at=at(9)),
        VersionInfo(version=2, created_at=at(2)),
        VersionInfo(version=1, created_at=at(1), is_purged=True),
    ]
    assert [info.stored_state() for info in stored.infos if info.version in (1, 3)] == [
        state(3, created_at=at(3), deleted_at=at(9)),
        state(1, created_at=at(1)),
    ]


def test_versions_that_an_earlier_release_purged_have_no_time() -> None:
    """A purged number without a state is listed, with an unknown time."""
    stored = with_versions(purged=[1])
    assert stored.infos[-1] == VersionInfo(version=1, created_at=None, is_purged=True)
    assert stored.states == []


def test_a_state_of_a_later_release_is_read() -> None:
    """During a rolling update, a state with a further field is read without it."""
    stored = with_versions(states=[state(2, deleted_at=at(9), reason="unknown")])
    assert stored.is_visible(NOW)
    assert stored.infos[2] == VersionInfo(version=2, created_at=at(2), deleted_at=at(9))


def test_what_is_not_a_version_is_not_listed() -> None:
    """States and purged numbers of other versions, and malformed older versions, have no part in a list."""
    states = [state(number, deleted_at=at(9)) for number in (0, -1, 5, 2**62)]
    stored = with_versions(states=states, purged=[0, -1, 5, True, 2**62])
    assert [info.version for info in stored.infos] == [4, 3, 2]
    assert stored.purged_versions == []
    assert [version.version for version in StoredSecret({"version": 1, "older": [{}, 5]}).older] == [-1]


@pytest.mark.parametrize(
    ("fields", "is_readable"),
    [
        ({}, True),
        ({"states": [state(4, deleted_at=at(30))]}, False),
        ({"states": [state(4, deleted_at=at(31))]}, True),
        ({"states": [state(4)]}, True),
        ({"states": [state(3, deleted_at=at(1))]}, True),
        ({"purged": [4]}, False),
        ({"purged": [3]}, True),
    ],
    ids=str,
)
def test_a_version_is_readable_unless_deleted_or_purged(fields: dict[str, Any], is_readable: bool) -> None:
    """A version is readable until the time of its deletion, or its purge, and others do not matter."""
    assert with_versions(**fields).is_readable(4, at(30)) is is_readable


def test_a_secret_without_a_value_decrypts(keyring: Keyring) -> None:
    """The empty value of version 0 verifies, and that of a missing or negative version does not."""
    secret = Secret(id="a", created_at=NOW, version=0)
    secret.set_plaintext(b"")
    secret.encrypt(keyring)
    document = secret.to_mongo().to_dict()
    assert StoredSecret(document).decrypt(keyring) == b""
    for version in (-1, None, True, "0"):
        with pytest.raises(DecryptionError):
            StoredSecret({**document, "version": version}).decrypt(keyring)


RULES = WriteRules(
    version_required=True, metadata_version_required=True, max_versions=3, delete_after_seconds=60
)


@pytest.mark.parametrize("rules", [WriteRules(), RULES, WriteRules(max_versions=1)], ids=str)
def test_stored_rules_read_back(rules: WriteRules) -> None:
    """Rules are stored without those that are unset, and read back the same."""
    stored = rules.stored()
    assert all(stored.values())
    assert WriteRules.of_stored(dict(stored)) == rules


@pytest.mark.parametrize("value", [None, 5, "text", [], {}, {"unknown": True}], ids=str)
def test_no_rules_are_none(value: object) -> None:
    """Anything else in place of rules sets no rule."""
    assert WriteRules.of_stored(value) == WriteRules()


@pytest.mark.parametrize("value", ["text", 1.5, None, [], {}, -1, 2**31, 2**63 - 1], ids=str)
@pytest.mark.parametrize("name", RULES.stored())
def test_a_rule_of_another_type_or_size_is_unset(name: str, value: object) -> None:
    """A rule that the service did not store is unset, and the others stay."""
    found = WriteRules.of_stored({**RULES.stored(), name: value}).stored()
    assert found == {other: rule for other, rule in RULES.stored().items() if other != name}


def test_a_number_is_no_truth() -> None:
    """A number in place of a truth value, and the reverse, leaves the rule unset."""
    swapped = {"version_required": 1, "max_versions": True, "delete_after_seconds": True}
    assert WriteRules.of_stored(swapped) == WriteRules()


def test_the_longest_delay_is_a_time() -> None:
    """Every delay that is read is one that Python's times have."""
    longest = WriteRules.of_stored({"delete_after_seconds": 2**31 - 1}).delete_after_seconds
    assert timedelta(seconds=longest) < timedelta(days=69 * 366)
