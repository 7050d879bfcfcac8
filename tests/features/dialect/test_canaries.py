"""Canaries over Vault's API: readers cannot tell them, and each read of one is an alarm."""

from typing import Any

import pytest
from flask import Flask

from tests.service.test_canaries import CANARY, KEEPER, ORDINARY, canary, masked, reads
from tests.support.dialect import DialectClient
from tests.support.lifecycle import BOB, Caller
from tests.support.metrics import Growth
from tests.support.rotation import Stored

__all__ = ["canary"]

WRAPPED = {"X_Vault_Wrap_TTL": "60"}
CALLS: list[tuple[str, str, Any, dict[str, str]]] = [
    ("GET", "secret/data/NAME", None, {}),
    ("GET", "secret/data/NAME", None, WRAPPED),
    ("GET", "secret/subkeys/NAME", None, {}),
    ("GET", "secret/metadata/NAME", None, {}),
    ("POST", "secret/data/NAME", {"data": {"a": 1}, "options": {"cas": 5}}, {}),
    ("POST", "secret/data/NAME", {"data": {"a": 1}}, {}),
    ("POST", "secret/metadata/NAME", {"max_versions": 3}, {}),
    ("GET", "secret/data/NAME?version=1", None, {}),
    ("POST", "secret/destroy/NAME", {"versions": [2]}, {}),
    ("GET", "secret/data/NAME", None, {}),
    ("POST", "secret/undelete/NAME", {"versions": [1]}, {}),
    ("DELETE", "secret/metadata/NAME", None, {}),
]


@pytest.mark.usefixtures("canary")
def test_no_reply_tells_a_canary_from_others(app: Flask) -> None:
    """Replies are alike: to reads, changes and conflicts, and with wrapped replies."""
    bob = DialectClient.of(app, "bob", scopes=BOB.scopes)
    assert bob("LIST", "secret/metadata/shop")["data"]["keys"] == ["db-a", "db-b"]
    for method, path, body, headers in CALLS:
        first, second = (
            masked(bob.ask(method, path.replace("NAME", name), body, **headers))
            for name in (CANARY, ORDINARY)
        )
        assert first == second, path


def test_each_read_is_on_record(root: DialectClient, stored: Stored, canary: str) -> None:
    """Reads of values and of their keys have the flag; so does each unwrap of a wrapped value."""
    assert canary
    growth = Growth("canary_reads_total")
    for what in ("data", "subkeys"):
        root("GET", f"secret/{what}/{CANARY}")
    token = root("GET", f"secret/data/{CANARY}", **WRAPPED)["wrap_info"]["token"]
    root("POST", "sys/wrapping/lookup", {"token": token})
    again = root("POST", "sys/wrapping/unwrap", {"token": token}, **WRAPPED)["wrap_info"]["token"]
    assert root("POST", "sys/wrapping/unwrap", {"token": again})["data"]["data"] == {"password": "hunter2"}
    assert [entry for entry in reads(stored) if entry[0] != "token_create"] == [
        *[("fetch", True)] * 3,
        ("wrap_lookup", False),
        *[("unwrap", True)] * 2,
    ]
    assert growth.now == 5


def test_what_reads_no_value_is_no_alarm(ready: Caller, root: DialectClient, stored: Stored) -> None:
    """Descriptions and patches set off no alarm."""
    growth = Growth("canary_reads_total")
    ready.become(KEEPER).create(b'{"a": 1}', name="shop/other", canary=True)
    root("GET", "secret/metadata/shop/other")
    patch = {"Content_Type": "application/merge-patch+json"}
    assert root.ask("PATCH", "secret/data/shop/other", {"data": {"a": 2}}, **patch).status_code == 200
    assert (growth.now, {is_alarm for _, is_alarm in reads(stored)}) == (0, {False})
