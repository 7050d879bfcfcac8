"""Wrapped replies: kept for one, for a while, beyond the reach of everyone else."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from flask import Flask

from tests.conftest import start
from tests.support.access import services
from tests.support.lifecycle import Caller, document, in_past
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from vault.common.errors import (
    AuditUnavailableError,
    DecryptionError,
    InvalidWrappingTokenError,
    SecretBusyError,
    SecretNotFoundError,
    SecretTooLargeError,
    StorageUnavailableError,
)
from vault.core.attempt import Action, Attempt
from vault.core.principal import NAME_PATTERN
from vault.core.secrets import read_limits, wrapping
from vault.core.secrets.requests import Reference
from vault.core.secrets.store import MAX_BATCH_VALUES_BYTES, SecretStore
from vault.core.secrets.wrapping import Origin, Wrapping, WrappingToken

ORIGIN = Origin("secret/data/a", "2026-11-26T10:15:08.174Z", 60)

REPLY = b'{"data":"reply"}'


@pytest.fixture
def wraps(app: Flask) -> Wrapping:
    """Return the wrapping of a started application."""
    start(app)
    return services(app).wrapping


def attempt(action: Action = Action.UNWRAP) -> Attempt:
    return Attempt(action=action, ip="127.0.0.1")


def kept(wraps: Wrapping, reply: bytes = REPLY) -> WrappingToken:
    """Return the token of a new wrapped reply."""
    token = WrappingToken.new()
    wraps.keep(token, reply, ORIGIN)
    return token


@pytest.mark.promise("vault")
def test_of_many_at_once_one_gets_the_reply(wraps: Wrapping) -> None:
    """However many unwrap at the same time, exactly one gets the reply."""
    token = kept(wraps)

    def unwrap(_: int) -> bytes | None:
        try:
            return wraps.unwrap(token, bytes, attempt=attempt())[0]
        except InvalidWrappingTokenError:
            return None

    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(unwrap, range(24)))
    assert sorted(filter(None, replies)) == [REPLY]


def test_no_one_else_makes_the_service_read_a_reply(wraps: Wrapping) -> None:
    """Replies are large: no request for a secret reads one, and few look-ups at once do."""
    token = kept(wraps)
    reference, asked = Reference(secret_id=token.accessor), attempt(Action.FETCH)
    assert SecretStore().find(token.accessor) is None
    with pytest.raises(SecretNotFoundError):
        reference.find(attempt=asked)
    assert not asked.details
    assert wraps.look_up(token, attempt=attempt(Action.WRAP_LOOKUP)) == ORIGIN
    assert wraps._store._reads._max_batch * wrapping.MAX_BYTES <= 2 * MAX_BATCH_VALUES_BYTES


def test_a_spent_token_unwraps_nothing(wraps: Wrapping, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token is spent once, unless its only read is reserved; then it is as if it had never existed."""
    token = kept(wraps)
    with monkeypatch.context() as patch:
        patch.setattr(read_limits, "reserve_reads", lambda ids: [None] * len(ids))
        assert not wraps.spend(token, attempt=attempt())
    assert [wraps.spend(token, attempt=attempt()) for _ in range(2)] == [True, False]
    with pytest.raises(InvalidWrappingTokenError):
        wraps.unwrap(token, bytes, attempt=attempt())


def test_no_token_is_spent_without_its_entry(wraps: Wrapping, stored: Stored) -> None:
    """If the entry cannot be written, the token stays valid."""
    token = kept(wraps)
    block_trail(stored)
    with pytest.raises(AuditUnavailableError):
        wraps.spend(token, attempt=attempt())
    restore_trail(stored)
    assert wraps.unwrap(token, bytes, attempt=attempt())[0] == REPLY


def test_a_reply_has_its_life(wraps: Wrapping, stored: Stored) -> None:
    """After its life, a reply is gone, even before MongoDB has removed it."""
    token = kept(wraps)
    life = document(stored, token.accessor)["expires_at"] - document(stored, token.accessor)["created_at"]
    assert life == timedelta(seconds=60)
    expired = WrappingToken.new()
    new = wrapping.NewSecret(plaintext=ORIGIN.join(REPLY), ttl_seconds=60, max_reads=1)
    secret = new.document(wrapping.REPLIES, expired.accessor)
    secret.expires_at = secret.purge_at = in_past(seconds=1)
    wraps._store.publish([secret])
    for use in (partial(wraps.unwrap, make=bytes), wraps.look_up):
        with pytest.raises(InvalidWrappingTokenError):
            use(expired, attempt=attempt())


@pytest.mark.promise("vault")
def test_the_database_has_neither_the_token_nor_the_reply(wraps: Wrapping, stored: Stored) -> None:
    """MongoDB has the ciphertext and the accessor; the token cannot be derived from them."""
    token = kept(wraps, b'{"data":"hunter2"}')
    everything = str([list(stored[name].find()) for name in stored.list_collection_names()])
    assert token.accessor in everything
    assert token.text.removeprefix("smw_") not in everything
    assert token.text not in repr(token)
    assert "hunter2" not in everything
    assert ORIGIN.path not in everything


@pytest.mark.promise("vault")
def test_no_one_reaches_a_reply_by_its_accessor(wraps: Wrapping, alice: Caller, stored: Stored) -> None:
    """With its accessor, no operation of REST finds a wrapped reply: its namespace is no one's."""
    token = kept(wraps)
    for action, body in (
        ("fetch", {}),
        ("describe", {}),
        ("delete", {}),
        ("update", {"secret": "bmV3"}),
        ("purge", {}),
        ("restore", {}),
    ):
        assert alice.refused(action, secret_id=token.accessor, **body) == 404
    assert alice("list")["secrets"] == []
    batch = alice("fetch-batch", secrets=[{"secret_id": token.accessor}])["secrets"]
    assert batch[0]["problem"]["status"] == 404
    assert ":" in document(stored, token.accessor)["namespace"]
    assert ":" not in NAME_PATTERN
    assert wraps.unwrap(token, bytes, attempt=attempt())[0] == REPLY


@pytest.mark.promise("vault")
def test_a_secret_is_no_wrapped_reply(wraps: Wrapping, stored: Stored, alice: Caller) -> None:
    """A secret that someone moved to the ID of a token is not unwrapped."""
    token = WrappingToken.new()
    secret = document(stored, alice.create(max_reads=1))
    stored.secrets.insert_one({**secret, "_id": token.accessor})
    with pytest.raises(InvalidWrappingTokenError):
        wraps.unwrap(token, bytes, attempt=attempt())
    with pytest.raises(InvalidWrappingTokenError):
        wraps.look_up(token, attempt=attempt())


@pytest.mark.promise("vault")
def test_an_altered_reply_is_not_released(wraps: Wrapping, stored: Stored) -> None:
    """A reply that was altered in the database, or given another life, does not verify."""
    token = kept(wraps)
    stored.secrets.update_one({"_id": token.accessor}, {"$set": {"max_reads": 2}})
    for use in (partial(wraps.unwrap, make=bytes), wraps.look_up):
        with pytest.raises(DecryptionError):
            use(token, attempt=attempt())


def test_a_reply_has_a_maximum_size(wraps: Wrapping, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply beyond the internal limit, which no value reaches, is not wrapped."""
    monkeypatch.setattr(wrapping, "MAX_BYTES", 10)
    assert kept(wraps, b'{"a":"bc"}')
    with pytest.raises(SecretTooLargeError):
        kept(wraps, b'{"a":"bcd"}')


def test_a_failed_count_releases_nothing(
    wraps: Wrapping, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the read cannot be counted, the reply is withheld; it can be unwrapped again after an outage."""
    token = kept(wraps)

    def fail(_: object) -> None:
        raise StorageUnavailableError("an outage")

    with monkeypatch.context() as patch:
        patch.setattr(read_limits, "commit_reads", fail)
        with pytest.raises(StorageUnavailableError):
            wraps.unwrap(token, bytes, attempt=attempt())
    with monkeypatch.context() as patch:
        patch.setattr(read_limits, "commit_reads", lambda reads: [False] * len(reads))
        with pytest.raises(SecretBusyError):
            wraps.unwrap(token, bytes, attempt=attempt())
    stored.secrets.update_one({"_id": token.accessor}, {"$unset": {"held_reads": 1}})
    assert wraps.unwrap(token, bytes, attempt=attempt())[0] == REPLY
