"""The token key of a process."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask

from tests.conftest import running_app
from tests.support.access import make_token, services
from tests.support.rotation import Stored
from vault.common.errors import StorageUnavailableError
from vault.core.access.token_keys import TokenKeys
from vault.core.documents.token import StoredTokenKey


def test_all_processes_share_one_token_key(environment: dict[str, str], stored: Stored) -> None:
    """The first tokens, created concurrently, all use one key."""
    with running_app(environment) as app, ThreadPoolExecutor(8) as pool:
        shared = services(app).tokens._keys
        processes = [TokenKeys(shared._keyring, shared._guard) for _ in range(8)]
        keys = list(pool.map(TokenKeys.find_or_make, processes))
    assert stored.token_keys.count_documents({}) == 1
    assert len({key.hash("smt_") for key in keys}) == 1


def test_a_vanished_token_key_is_not_used(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the key just stored is missing, no token is created with it."""
    monkeypatch.setattr(StoredTokenKey, "stored", lambda: None)
    with pytest.raises(StorageUnavailableError):
        make_token(app, "new")
