"""Patterns: names, and beginnings of names that end in `*`."""

from collections.abc import Iterable


class Patterns:
    """Patterns of names, of which one is enough."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Take the patterns *texts*.

        Raises:
            ValueError: One of them is empty, or has a `*` before its end; the message continues a name.
        """
        stripped = [text.strip() for text in texts]
        if not all(stripped) or any("*" in text[:-1] for text in stripped):
            raise ValueError("must be names, separated by commas, with * only at the end of a name")
        self._names = frozenset(text for text in stripped if not text.endswith("*"))
        self._beginnings = tuple(text[:-1] for text in stripped if text.endswith("*"))

    def match(self, name: str) -> bool:
        """Return whether one of them is *name*, or its beginning."""
        return name in self._names or name.startswith(self._beginnings)


#: Matches everything.
ANY = Patterns(["*"])
