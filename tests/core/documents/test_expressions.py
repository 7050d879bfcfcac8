"""Conditions on names and versions, compared with the checks in Python."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.rotation import Stored
from vault.common.paths import Paths
from vault.core.documents.expressions import beginning_with, has_readable_newest, within
from vault.core.documents.stored_secret import StoredSecret

_names = st.lists(
    st.sampled_from(["a", "ab", "a.b", "A", "z", "a b", "é", "a\U0003134a"]), min_size=1, max_size=3
).map("/".join)
_paths = st.lists(_names | _names.map(lambda name: f"{name}/"), min_size=1, max_size=4)
_OPERATORS = {
    "$gte": lambda name, bound: name >= bound,
    "$gt": lambda name, bound: name > bound,
    "$lt": lambda name, bound: name < bound,
    "$in": lambda name, names: name in names,
}


def meets(name: str, condition: dict[str, Any]) -> bool:
    """Return whether *name* meets a condition, as MongoDB decides it."""
    return all(_OPERATORS[operator](name, bound) for operator, bound in condition.items())


@given(name=_names, paths=_paths, prefix=st.just("") | _paths.map(lambda paths: paths[0]), above=_names)
def test_exactly_the_names_within_paths_meet_a_condition(
    name: str, paths: list[str], prefix: str, above: str
) -> None:
    """A name meets one of the conditions if it is within the paths, has the prefix and is above another."""
    limits = Paths.of(paths)
    found = sum(meets(name, condition) for condition in within(limits, prefix=prefix, above=above))
    assert found == (limits.include(name) and name.startswith(prefix) and name > above)


@pytest.mark.parametrize(
    ("name", "is_met"),
    [
        ("b", False),
        ("b/", True),
        ("b/z~", True),
        ("b0", False),
        ("b/\x80", True),
        ("b/é", True),
        ("b/\uffff", True),
        ("b/\U0003134a", True),
        ("b/\U0010fffe\U0010ffff", True),
        ("b\U0010ffff", False),
        ("bé/", False),
    ],
)
def test_names_that_begin_with_a_prefix(name: str, is_met: bool) -> None:
    """Every name below a prefix meets its condition, up to the last character of a name."""
    assert meets(name, beginning_with("b/")) is is_met


NOW = datetime(2026, 11, 24, tzinfo=UTC)


def state(version: int, deleted_at: datetime | None = None) -> dict[str, object]:
    """Return the stored state of a version."""
    return {"version": version, "created_at": NOW, "deleted_at": deleted_at}


@pytest.mark.parametrize(
    "fields",
    [
        *({}, {"version": 0}, {"version": 1}, {"purged": [1]}, {"purged": [2]}, {"purged": 1}, {"states": 1}),
        *({"version": 2, "states": [state(2, NOW)]}, {"version": 2, "states": [state(2)]}),
        *({"states": [state(1, NOW)]}, {"states": [state(2, NOW)]}),
        {"states": [state(1, NOW.replace(year=2027))]},
        {"states": [5, "text", [state(1)], {}, state(1, NOW)]},
    ],
    ids=str,
)
def test_the_condition_for_readable_secrets_agrees(stored: Stored, fields: dict[str, Any]) -> None:
    """MongoDB finds by the condition exactly the secrets whose newest version is readable."""
    stored.secrets.insert_one({"_id": "a", **fields})
    found = StoredSecret({"_id": "a", **fields})
    # Malformed states hide a secret, which decides alone.
    if found.states or "states" not in fields:
        expected = found.version > 0 and found.is_readable(found.version, NOW)
        assert stored.secrets.count_documents(has_readable_newest(NOW)) == expected
    else:
        assert stored.secrets.count_documents(has_readable_newest(NOW)) in (0, 1)
