"""Names of secrets, and paths: the names that a principal is limited to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

#: The form of a secret's name.
NAME_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"
MAX_NAME_LENGTH = 256

#: The form of a path: a secret's name, or a prefix of names that ends in a slash.
PATH_PATTERN = NAME_PATTERN.removesuffix("$") + "/?$"

#: The maximum number of paths of a principal.
MAX_PATHS = 32


def is_path(text: str) -> bool:
    """Return whether *text* is a valid path."""
    # Not `match`: there, `$` accepts a trailing newline.
    return len(text) <= MAX_NAME_LENGTH and re.fullmatch(PATH_PATTERN, text) is not None


@dataclass(frozen=True, slots=True)
class Paths:
    """The names of secrets that a principal can reach: whole names, and prefixes that end in a slash.

    Without any, it can reach every secret of its namespace. With some, no secret without a name.
    """

    #: Whole names.
    names: frozenset[str] = frozenset()
    #: Prefixes. None of them begins with another.
    prefixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Return the paths *texts*, without those that others cover."""
        given = set(texts)
        kept = sorted(text for text in given if not _is_below(text, given))
        return cls(
            frozenset(text for text in kept if not text.endswith("/")),
            tuple(text for text in kept if text.endswith("/")),
        )

    @property
    def texts(self) -> tuple[str, ...]:
        """All paths, in order."""
        return tuple(sorted((*self.names, *self.prefixes)))

    def include(self, name: str | None) -> bool:
        """Return whether a secret with this *name*, or without one, is within these paths."""
        if not self:
            return True
        return name is not None and (name in self.names or name.startswith(self.prefixes))

    def include_all(self, folder: str) -> bool:
        """Return whether these paths have every name in *folder*, which ends in a slash unless it is all."""
        return not self or folder.startswith(self.prefixes)

    def cover(self, other: "Paths") -> bool:
        """Return whether every secret within *other* is within these paths."""
        if not self:
            return True
        return bool(other) and all(
            text in self.names or text.startswith(self.prefixes) for text in other.texts
        )

    def __bool__(self) -> bool:
        return bool(self.names or self.prefixes)


#: No limit.
ALL_PATHS = Paths()


def _is_below(text: str, others: set[str]) -> bool:
    """Return whether one of *others* is a prefix, with its slash, of *text*."""
    return any(text.startswith(other) for other in others if other.endswith("/") and other != text)
