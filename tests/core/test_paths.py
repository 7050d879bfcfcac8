"""Paths: whole names, and prefixes that end in a slash."""

import pytest

from vault.core.paths import ALL_PATHS, Paths, is_path

LIMITED = Paths.of(["billing/", "shared/db"])


@pytest.mark.parametrize("text", ["billing/", "shared/db", "a", "_a/b.c/", "a" * 256])
def test_names_and_prefixes_are_paths(text: str) -> None:
    """A path is a secret's name, or a prefix of names with its slash."""
    assert is_path(text)


@pytest.mark.parametrize("text", ["", "/", "/a", "a//", "a//b", "../a", "a*", "a\n", "a/\n", "ä", "a" * 257])
def test_other_texts_are_not_paths(text: str) -> None:
    """No other text is a path: no empty part, no wildcard, no trailing newline."""
    assert not is_path(text)


@pytest.mark.parametrize("name", ["billing/db", "billing/eu/db", "shared/db"])
def test_names_within(name: str) -> None:
    """A name is within if it is a path itself, or begins with one that ends in a slash."""
    assert LIMITED.include(name)


@pytest.mark.parametrize("name", [None, "billing", "billing-eu/db", "shared/db/old", "shared/db2", "other"])
def test_names_outside(name: str | None) -> None:
    """Other names, and secrets without a name, are outside."""
    assert not LIMITED.include(name)


@pytest.mark.parametrize("name", [None, "billing", "any/name"])
def test_without_paths_there_is_no_limit(name: str | None) -> None:
    """Without paths every secret is within, also one without a name."""
    assert ALL_PATHS.include(name)
    assert not ALL_PATHS


def test_covered_paths_are_left_out() -> None:
    """A path below another one adds nothing."""
    paths = Paths.of(["a/b/", "a/", "a/c", "a", "b/c", "b/c"])
    assert paths.texts == ("a", "a/", "b/c")
    assert paths == Paths.of(["a", "a/", "b/c"])


@pytest.mark.parametrize(
    ("paths", "covered"),
    [
        ([], True),
        (["billing/"], True),
        (["billing/eu/", "billing/db", "shared/db"], True),
        (["shared/"], False),
        (["shared/db/"], False),
        (["billing"], False),
        (["billing/", "other"], False),
    ],
)
def test_cover(paths: list[str], covered: bool) -> None:
    """Paths cover others if each of those is within; none cover what has no limit."""
    assert LIMITED.cover(Paths.of(paths)) is (covered and bool(paths))
    assert ALL_PATHS.cover(Paths.of(paths))
