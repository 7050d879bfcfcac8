"""Items of a request, each with its own outcome."""

import gc
import weakref

import pytest

from vault.common.errors import DecryptionError, SecretBusyError, StorageUnavailableError
from vault.core.attempt import Action, Attempt
from vault.core.secrets.items import Creation, Item
from vault.core.secrets.requests import NewSecret


def creation(**options: object) -> Creation:
    return Creation(
        attempt=Attempt(action=Action.CREATE), new_secret=NewSecret(plaintext=b"value"), **options
    )  # type: ignore[arg-type]


class Plaintext:
    """A value that can be referred to weakly."""


def decrypt(_plaintext: Plaintext) -> None:
    try:
        int("not a number")
    except ValueError:
        raise DecryptionError from None


def test_a_failed_item_keeps_no_value_in_memory() -> None:
    """The error of an item does not refer to the frames that it came from, and to the values in them."""
    plaintext = Plaintext()
    kept, item = weakref.ref(plaintext), Item(attempt=Attempt(action=Action.FETCH))
    gc.disable()
    try:
        with item.failing_alone():
            decrypt(plaintext)
        del plaintext
        assert kept() is None
    finally:
        gc.enable()
    assert isinstance(item.error, DecryptionError)


def test_an_error_of_the_whole_is_not_kept() -> None:
    """An error that concerns more than one item is raised."""
    item = Item(attempt=Attempt(action=Action.FETCH))
    with pytest.raises(StorageUnavailableError), item.failing_alone():
        raise StorageUnavailableError
    assert item.error is None


def test_an_unknown_outcome_of_a_later_release_is_busy() -> None:
    """In a rolling update, an outcome that this release does not know is an error, not an ID."""
    item = creation()
    item.repeat("error:of_a_later_release")
    assert isinstance(item.error, SecretBusyError)
    assert item.secret_id == ""
