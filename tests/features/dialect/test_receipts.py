"""Receipts over Vault's API."""

import pytest

from tests.service.test_receipts import entry_of
from tests.support.dialect import DialectClient
from tests.support.rotation import Stored
from vault.core.crypto import MasterKey


def test_vaults_dialect_has_receipts(root: DialectClient, key: MasterKey, stored: Stored) -> None:
    """Vault's API has receipts in the same header, also for wrapped replies and their unwraps."""
    asked = {"X_Receipt": "1"}
    replies = [
        root.ask("POST", "secret/metadata/app/new", {"custom_metadata": {"a": "b"}}, **asked),
        root.ask("POST", "secret/data/app/new", {"data": {"a": "b"}}, **asked),
        root.ask("GET", "secret/data/app/new", X_Vault_Wrap_TTL="60", **asked),
    ]
    holder = root.having(replies[-1].json["wrap_info"]["token"])
    replies.append(holder.ask("POST", "sys/wrapping/unwrap", **asked))
    entries = [entry_of(reply.headers["X-Receipt"], key, stored) for reply in replies]
    assert [(entry["action"], entry["version"]) for entry in entries] == [
        *(("create", 0), ("update", 1), ("fetch", 1), ("unwrap", None))
    ]


@pytest.mark.parametrize("value", ["", "0", "true", "1, 1"])
def test_other_values_of_the_header_are_refused(root: DialectClient, stored: Stored, value: str) -> None:
    """Any other value of `X-Receipt` is refused in Vault's form, on record."""
    status, body = root.refused("GET", "secret/data/a", X_Receipt=value)
    assert (status, body) == (400, {"errors": ["The header X-Receipt must be 1."]})
    [entry] = stored.audit_logs.find({"action": "fetch"})
    assert entry["status"] == "bad_request"
