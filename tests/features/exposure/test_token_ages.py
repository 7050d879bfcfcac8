"""The ages of tokens: those that expire soon, and those that are not used."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.rotation import Stored
from vault.core.crypto import Keyring
from vault.core.crypto.token import new_token
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.token import StoredTokenKey, Token
from vault.features.exposure.ages import TokenAges, token_ages

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def token_key(keyring: Keyring, database: object) -> TokenKey:  # noqa: ARG001 - the fixture connects
    """Return the stored token key."""
    material = TokenKey.new_material()
    StoredTokenKey.of(material, keyring).save(force_insert=True)
    return TokenKey(material)


def put(key: TokenKey, name: str, **fields: Any) -> None:
    usual = {"namespace": "default", "created_at": NOW - 90 * DAY, "created_by": "operator"}
    token = Token(id=key.hash(new_token()), name=name, **(usual | fields))
    token.close(key)
    token.save(force_insert=True)


def ages(keyring: Keyring) -> TokenAges:
    return token_ages(keyring, NOW, since=NOW - 30 * DAY, soon=30 * DAY)


def test_unused_and_expiring_tokens_are_listed(keyring: Keyring, token_key: TokenKey) -> None:
    """Active tokens that expire soon, or are not used, are counted and listed."""
    put(token_key, "used", last_used_at=NOW - DAY, expires_at=NOW + 60 * DAY)
    put(token_key, "new", created_at=NOW - DAY, expires_at=NOW + 5 * DAY)
    put(token_key, "forgotten", last_used_at=NOW - 40 * DAY)
    put(token_key, "never", expires_at=NOW + 2 * DAY)
    put(token_key, "revoked", revoked_at=NOW - DAY, expires_at=NOW + DAY)
    put(token_key, "expired", expires_at=NOW - DAY)
    report = ages(keyring)
    assert report.states == {"active": 4, "expired": 1, "revoked": 1, "altered": 0}
    assert ([token.name for token in report.expiring], report.expiring_count) == (["never", "new"], 2)
    assert ([token.name for token in report.unused], report.unused_count) == (["never", "forgotten"], 2)


def test_altered_tokens_are_only_counted(keyring: Keyring, token_key: TokenKey, stored: Stored) -> None:
    """A token whose seal does not fit is counted as altered, and its times are ignored."""
    put(token_key, "a", expires_at=NOW + DAY)
    stored.tokens.update_one({}, {"$set": {"expires_at": NOW + 2 * DAY}})
    report = ages(keyring)
    assert (report.states["altered"], report.expiring_count, report.unused_count) == (1, 0, 0)


def test_without_a_token_key_there_are_no_tokens(keyring: Keyring) -> None:
    """A database without tokens has none in any state."""
    assert set(ages(keyring).states.values()) == {0}
