"""Names of secrets, and paths: the names that a principal is limited to."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from vault.common.credentials import token_flaw
from vault.common.text import visible_flaw

#: The maximum bytes of a name in UTF-8, and so of its characters.
MAX_NAME_BYTES = 512

#: A part of a name. Proxies and clients resolve `.` and `..`, and a space at an end is not seen.
_PART = r"(?!\.\.?(?:/|\Z))[^/* ](?:[^/*]*[^/* ])?"
_FORM = re.compile(f"{_PART}(?:/{_PART})*")

#: The maximum number of paths of a principal.
MAX_PATHS = 32


def name_flaw(text: str) -> str:
    """Return the rule that *text* breaks as a secret's name, without the text; empty for a valid name."""
    return prefix_flaw(text) or _form_flaw(text)


def path_flaw(text: str) -> str:
    """Return the rule that *text* breaks as a path, a name or a prefix of names that ends in a slash."""
    return prefix_flaw(text) or _form_flaw(text.removesuffix("/"))


def prefix_flaw(text: str) -> str:
    """Return the rule that *text* breaks as the beginning of a name, which can end anywhere in it."""
    if "*" in text:
        return "must not contain *"
    return token_flaw(text) or visible_flaw(text, max_bytes=MAX_NAME_BYTES)


def _form_flaw(text: str) -> str:
    if _FORM.fullmatch(text):
        return ""
    return "must not have a part that is empty, . or .., or that begins or ends with a space"


def is_path(text: str) -> bool:
    """Return whether *text* is a valid path."""
    return not path_flaw(text)


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
        """Return the paths *texts*, without paths that others cover."""
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

    def meet(self, other: Self) -> Self | None:
        """Return the paths of the names within both; None if there are none."""
        if not (self and other):
            return self or other
        texts = [*filter(other.include, self.texts), *filter(self.include, other.texts)]
        return self.of(texts) if texts else None

    def __bool__(self) -> bool:
        return bool(self.names or self.prefixes)


#: No limit.
ALL_PATHS = Paths()


def _is_below(text: str, others: set[str]) -> bool:
    """Return whether one of *others* is a prefix, with its slash, of *text*."""
    return any(text.startswith(other) for other in others if other.endswith("/") and other != text)
