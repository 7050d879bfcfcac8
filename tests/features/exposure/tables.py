"""The rows of exposure in the tables of general tests."""

from dataclasses import asdict
from typing import Any

from tests.support.command_entries import of_mongodb
from tests.support.leaks import NAME
from tests.support.statements import Statement
from vault.core.crypto import Keyring
from vault.core.principal import OPERATOR
from vault.features.exposure import certificate, exposure
from vault.features.exposure.knowledge import Question

ENTRIES = {
    "audit report": of_mongodb(),
    "exposure": of_mongodb("app/db", own_test=True),
    "offboard": of_mongodb("--principal", "alice"),
}

#: Commands in an order in which they succeed, on an empty database.
SUCCESSES = ("tokens create --name ci --role reader", "offboard --principal ci", "audit report")

#: Modules that print what they must not change.
OTHER_PRINTS = {"features/exposure/commands/report": "a page of HTML"}

CONSOLE_ADDRESSES = ("known?name=billing%2Feu%2Fdb-password",)

#: What only a reply of 200 may contain.
RETURNED = {"/vault/audit/exposure": {"id", "name"}}
#: Operations that need no secret of their own, each with a valid body, and changes to it.
QUERIES: dict[str, dict[str, Any]] = {"/vault/audit/exposure": {"principal": "admin"}}
QUERY_CHANGES: dict[str, list[dict[str, Any]]] = {
    "/vault/audit/exposure": [
        {"secret": {"name": NAME}, "stale": True, "limit": 1},
        {"secret": {"secret_id": "550e8400-e29b-41d4-a716-446655440000"}},
        {"token": "admin", "address": "127.0.0.1", "since": "2026-01-01T00:00:00Z"},
        {"service": "shop", "node": "node"},
    ]
}


def _make(address: str, keyring: Keyring) -> dict[str, Any]:
    question = Question(address=address, stale=True)
    return certificate.make(question, keyring, retention_days=0, progress=lambda _: None)


def _rows(principal: str) -> list[dict[str, Any]]:
    question = Question(principal=principal, stale=True)
    return [asdict(one) for one in exposure.read(question, OPERATOR, cursor=None, limit=1_000).exposures]


STATEMENT = Statement("certificate", certificate.PURPOSE, _make, certificate.read, _rows)
