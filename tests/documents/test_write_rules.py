"""Write rules as stored."""

from datetime import timedelta

import pytest

from vault.documents.write_rules import WriteRules

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
