"""Conditions of roles on the claims of JWTs."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

#: Matches any text, including none.
WILDCARD = "*"

MAX_KEY_LENGTH = 128
MAX_VALUE_LENGTH = 512

#: The maximum number of exact conditions of a role, and of globs.
MAX_CONDITIONS = 16

#: The maximum bytes of all conditions of a role together, and the maximum number of asterisks in a glob. A
#: JWT is compared with all roles of its issuer.
MAX_TOTAL_BYTES = 4_096
MAX_ASTERISKS = 8

#: The form of a key: a claim's name, or a JSON pointer to a nested claim such as `/kubernetes.io/namespace`.
#: Excluded are claims that are checked without a condition, and identify no one.
KEY_PATTERN = (
    "^(?!/?(?:iss|aud|exp|nbf|iat|jti)$)"
    f"(?=.{{1,{MAX_KEY_LENGTH}}}$)"
    "(?:[!-.0-<>-~][!-<>-~]*|(?:/(?:[!-.0-<>-}]|~[01])+)+)$"
)


def is_key(text: str) -> bool:
    """Return whether *text* is the valid key of a condition."""
    # Not `match`: there, `$` accepts a trailing newline.
    return re.fullmatch(KEY_PATTERN, text) is not None


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a claim: it equals a text, or as a glob matches it.

    A text equals itself, a number its decimal form, and true and false their names. A list satisfies a
    condition if one of its elements does. Missing claims, null, fractions and objects satisfy none.
    """

    path: tuple[str, ...]
    key: str
    value: str
    is_glob: bool = False

    @classmethod
    def of(cls, stored: str, *, is_glob: bool = False) -> Self:
        """Return the condition in its stored form, `KEY=VALUE`."""
        key, _, value = stored.partition("=")
        return cls(_path(key), key, value, is_glob)

    @property
    def is_bare(self) -> bool:
        """True if every text satisfies it."""
        return self.is_glob and not self.value.strip(WILDCARD)

    def holds(self, claims: Mapping[str, Any]) -> bool:
        """Return whether *claims* satisfy it."""
        name, *rest = self.path
        claim = claims.get(name)
        if isinstance(claim, str) and not (rest or self.is_glob):
            # By far the most common case.
            return claim == self.value
        for name in rest:
            if not isinstance(claim, Mapping):
                return False
            claim = claim.get(name)
        texts = _texts(claim)
        if self.is_glob:
            return any(glob_matches(self.value, text) for text in texts)
        return self.value in texts


def are_small(claims: Iterable[str], claim_globs: Iterable[str]) -> bool:
    """Return whether conditions with these stored forms are within the limits of a role."""
    globs = list(claim_globs)
    size = sum(len(stored.encode()) for stored in (*claims, *globs))
    return size <= MAX_TOTAL_BYTES and all(stored.count(WILDCARD) <= MAX_ASTERISKS for stored in globs)


def conditions(claims: Iterable[str], claim_globs: Iterable[str]) -> tuple[Condition, ...]:
    """Return the conditions with these stored forms."""
    exact = (Condition.of(stored) for stored in claims)
    return (*exact, *(Condition.of(stored, is_glob=True) for stored in claim_globs))


def glob_matches(pattern: str, text: str) -> bool:
    """Return whether the whole *text* matches *pattern*, in which each `*` stands for any characters.

    It never goes back: the leftmost place of each part leaves the most room for the others.
    """
    first, *rest = pattern.split(WILDCARD)
    if not rest:
        return text == pattern
    *middle, last = rest
    position, end = len(first), len(text) - len(last)
    if position > end or not (text.startswith(first) and text.endswith(last)):
        return False
    for part in middle:
        position = text.find(part, position, end)
        if position < 0:
            return False
        position += len(part)
    return True


def _path(key: str) -> tuple[str, ...]:
    """Return the names on the way to the claim *key*: one, or the parts of a JSON pointer (RFC 6901)."""
    if not key.startswith("/"):
        return (key,)
    return tuple(part.replace("~1", "/").replace("~0", "~") for part in key[1:].split("/"))


def _texts(claim: Any) -> Iterator[str]:
    for value in claim if isinstance(claim, list) else [claim]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, bool):
            yield "true" if value else "false"
        elif isinstance(value, int):
            yield str(value)
