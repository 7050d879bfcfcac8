"""Conditions on claims: exact texts, globs in linear time, and nested claims."""

import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.features.jwt.claims import MAX_KEY_LENGTH, Condition, conditions, glob_matches, is_key

CLAIMS: dict[str, Any] = {
    "repository": "acme/api",
    "ref_protected": "true",
    "flag": True,
    "off": False,
    "number": 20,
    "fraction": 1.0,
    "nothing": None,
    "groups": ["dev", "ops", 7, True, None, {"a": "b"}, ["nested"]],
    "empty": [],
    "kubernetes.io": {"namespace": "billing", "serviceaccount": {"name": "api"}},
    "https://example.com/team": "billing",
    "a/b": {"c~d": "x"},
    "": "no name",
}


@pytest.mark.parametrize(
    "stored",
    [
        *("repository=acme/api", "ref_protected=true", "flag=true", "off=false", "number=20"),
        *("groups=dev", "groups=7", "groups=true", "/repository=acme/api"),
        *("/kubernetes.io/namespace=billing", "/kubernetes.io/serviceaccount/name=api"),
        *("https://example.com/team=billing", "/a~1b/c~0d=x", "/https:~1~1example.com~1team=billing"),
    ],
)
def test_a_claim_equals_its_text(stored: str) -> None:
    """Texts, numbers, booleans, elements of lists and nested claims satisfy their exact text."""
    assert Condition.of(stored).holds(CLAIMS)
    assert conditions([stored], [])[0].holds(CLAIMS)


@pytest.mark.parametrize(
    "stored",
    [
        *("repository=acme", "repository=Acme/api", "repository=acme/api ", "repository=*", "flag=True"),
        *("flag=1", "number=20.0", "fraction=1.0", "fraction=1", "nothing=null", "nothing=None", "missing=x"),
        *("groups=nested", "groups=b", "groups=None", "empty=", "missing=", "kubernetes.io=namespace"),
        *("/kubernetes.io=billing", "/kubernetes.io/missing=billing", "/repository/acme=api"),
        *("/groups/0=dev", "kubernetes.io/namespace=billing", "/a/b/c~0d=x"),
    ],
)
def test_nothing_else_satisfies_a_condition(stored: str) -> None:
    """Other texts, missing claims, null, fractions, objects and nested lists satisfy no exact condition."""
    assert not Condition.of(stored).holds(CLAIMS)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("v*", "v1.2.3", True),
        ("v*", "v", True),
        ("v*", "xv1", False),
        ("*/main", "refs/heads/main", True),
        ("refs/*/main", "refs/heads/a/main", True),
        ("refs/*/main", "refs/main", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*b*b*", "ab", False),
        ("*b*b*", "abb", True),
        ("ab*bc", "abc", False),
        ("*", "", True),
        ("**", "x", True),
        ("[a-z]?", "a1", False),
        ("[a-z]?", "[a-z]?", True),
        ("a.c*", "abc", False),
        ("x*", "a\nx", False),
        ("a*", "a\nb", True),
    ],
)
def test_only_the_asterisk_is_special(pattern: str, text: str, matches: bool) -> None:
    """`*` stands for any characters, the whole text must match, and no other character is special."""
    assert glob_matches(pattern, text) is matches
    assert Condition.of(f"claim={pattern}", is_glob=True).holds({"claim": text}) is matches


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_a_glob_matches_as_the_same_regular_expression(pattern: str, text: str) -> None:
    """A glob matches exactly what the regular expression with `.*` matches."""
    expected = re.fullmatch(pattern.replace("*", ".*"), text) is not None
    assert glob_matches(pattern, text) is expected


def test_a_hostile_pattern_takes_linear_time() -> None:
    """A pattern that makes backtracking matchers take years is decided immediately."""
    began = time.process_time()
    assert not glob_matches("*a" * 200 + "b*", "a" * 8_000)
    assert time.process_time() - began < 5


def test_a_glob_over_a_list_needs_one_element() -> None:
    """A list satisfies a glob if one element matches."""
    assert Condition.of("groups=o*", is_glob=True).holds(CLAIMS)
    assert not Condition.of("groups=x*", is_glob=True).holds(CLAIMS)
    assert not Condition.of("missing=*", is_glob=True).holds(CLAIMS)


@pytest.mark.parametrize(
    ("stored", "is_glob", "is_bare"),
    [("a=*", True, True), ("a=***", True, True), ("a=x*", True, False), ("a=*", False, False)],
)
def test_a_glob_of_asterisks_is_bare(stored: str, is_glob: bool, is_bare: bool) -> None:
    """A glob of asterisks alone is satisfied by every text; an exact asterisk is not."""
    assert Condition.of(stored, is_glob=is_glob).is_bare is is_bare


@pytest.mark.parametrize(
    "key",
    ["sub", "a.b", "https://example.com/team", "/kubernetes.io/namespace", "/a~1b/c~0d", "/iss/x", "$a"],
)
def test_a_key_names_a_claim(key: str) -> None:
    """Names, and paths to nested claims, are keys."""
    assert is_key(key)


@pytest.mark.parametrize(
    "key",
    [
        *("", "a=b", "a b", "a\n", "é", "/", "/a/", "//a", "/a~2b", "/a~", "/a=b"),
        *("iss", "aud", "exp", "nbf", "iat", "jti", "/iss", "/aud", "x" * (MAX_KEY_LENGTH + 1)),
    ],
)
def test_anything_else_is_no_key(key: str) -> None:
    """Malformed paths, other characters, and claims that say nothing about the sender are not keys."""
    assert not is_key(key)
