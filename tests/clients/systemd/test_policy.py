"""Policies of units: which secret is a credential."""

import json
from pathlib import Path

import pytest

from tests.clients.systemd.conftest import POLICY
from vault.clients.delivery.outcomes import ForbiddenError
from vault.clients.delivery.selection import Encoding, Reference
from vault.clients.systemd.policy import UnitPolicy


def policy(folder: Path, text: str, *, suffix: str = ".toml") -> UnitPolicy:
    path = folder / f"policy{suffix}"
    path.write_text(text)
    return UnitPolicy(path)


def test_the_most_specific_unit_decides(tmp_path: Path) -> None:
    """A unit's own table precedes those of patterns, and a longer pattern a shorter one."""
    found = policy(tmp_path, POLICY + '[units."shop-w*"]\ndb-password = "c"\n')
    assert found.selection("shop.service", "db-password").reference == Reference(name="a")
    assert found.selection("shop.service", "pin").reference == Reference(name="a", version=3)
    assert found.selection("shop.service", "other").encoding is Encoding.BASE64
    assert found.selection("shop-web.service", "db-password").reference == Reference(name="c")
    assert found.selection("shop-a.service", "db-password").reference == Reference(name="b")
    for unit, credential in [("web.service", "db-password"), ("shop.service", "none")]:
        with pytest.raises(ForbiddenError, match=f"the credential {credential} to the unit {unit}"):
            found.selection(unit, credential)


def test_a_policy_can_be_json_and_can_change(tmp_path: Path) -> None:
    """A changed file takes effect at once; an invalid one denies everything."""
    found = policy(tmp_path, json.dumps({"units": {"a.service": {"x": "y"}}}), suffix=".json")
    assert found.selection("a.service", "x").reference.name == "y"
    (tmp_path / "policy.json").write_text(json.dumps({"units": {"a.service": {"x": "z"}}}))
    assert found.selection("a.service", "x").reference.name == "z"
    for text in ("{", '{"units": {"a.service": {"x": "y"}, "a.service": {"x": "z"}}}'):
        (tmp_path / "policy.json").write_text(text)
        with pytest.raises(ForbiddenError, match="cannot be used: InvalidJSONError"):
            found.selection("a.service", "x")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", 'must have a table "units"'),
        ("[units]\n[other]", 'must have a table "units"'),
        ("units = 1", 'must have a table "units"'),
        ("[units]\na = 1", 'must have a table "units"'),
        ("[units.a]", 'must have a table "units"'),
        ('[units."*a"]\nx = "y"', "must be a unit, with * only at the end"),
        ("[units.a]\nx = 1", "a: x must be the name of a secret, or a table of name, id"),
        ('[units.a]\nx = {name = "y", services = "z"}', "a: x must be the name of a secret, or a table of"),
        ('[units.a]\nx = ""', "a: x: set one of the labels name and id"),
        ('[units.a]\nx = {name = "y", version = 0}', "a: x: version must be the number of a version"),
    ],
)
def test_an_invalid_policy_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """A policy that may mean something else is refused as a whole."""
    with pytest.raises(ForbiddenError) as refused:
        policy(tmp_path, text)
    assert reason in str(refused.value)
