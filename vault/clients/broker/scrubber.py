"""The removal of a value from a stream, in all forms that a reply is searched for."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

from vault.clients.broker.forms import Form, Unit, forms

#: What stands in the place of a value.
MARK = b"[secret]"

#: How many places of a form must fit before they are looked at one by one.
_LOOKED_FOR = 3

#: Beginnings of a value at one place of a stream. Only values that repeat themselves have more than a few.
_MAX_BEGUN = 1_024


class RepetitiveValueError(Exception):
    """A stream has more beginnings of the value at one place than can be followed."""


#: A form by its number, the place in it, and the beginning of a spelling there.
_State = tuple[int, int, bytes]


class Sought:
    """A value that streams are searched for, with patterns of its beginnings: most of a stream has none."""

    def __init__(self, value: str) -> None:
        self.forms = forms(value)
        starts = [form[:_LOOKED_FOR] for form in self.forms]
        by_byte = _by_first_byte(starts)
        self.start = re.compile(b"|".join(map(_pattern, *zip(*by_byte.items(), strict=True))))
        self.first = re.compile(b"[%s]" % b"".join(map(re.escape, by_byte)))
        #: The bytes in which an incomplete start can be.
        self.tail = max(sum(max(map(len, unit.spellings)) for unit in start) for start in starts) - 1


def without(sought: Sought, text: bytes) -> bytes:
    """Return *text* without the value.

    Raises:
        RepetitiveValueError: The value is too repetitive for it.
    """
    scrubber = Scrubber(sought)
    return scrubber.feed(text) + scrubber.finish()


class Scrubber:
    """The removal of a value from one stream.

    An automaton follows each beginning of a form until it ends or is complete, across parts of the stream.
    What cannot be in a form is let go at once, so that streams of events have no delay.
    """

    def __init__(self, sought: Sought) -> None:
        self._sought = sought
        self._held = bytearray()
        #: Where each form began that can still be completed. It is negative for what was cut already.
        self._begun: dict[_State, int] = {}
        self._found: list[tuple[int, int]] = []
        #: Up to here, the bytes were let go, or cut.
        self._passed = 0

    def feed(self, data: bytes) -> bytes:
        """Take the next part of the stream, and return what can be let go.

        Raises:
            RepetitiveValueError: The value is too repetitive for this stream.
        """
        position = len(self._held)
        self._held += data
        while (position := self._next(position)) < len(self._held):
            self._step(position)
            position += 1
        return self._released(min(self._begun.values(), default=len(self._held)))

    def finish(self) -> bytes:
        """Return the rest, at the end of the stream."""
        self._begun = {}
        return self._released(len(self._held))

    def _next(self, position: int) -> int:
        """Return the next position from *position* on at which a form can begin, or go on."""
        if self._begun:
            return position
        tail = max(position, len(self._held) - self._sought.tail)
        found = self._sought.start.search(self._held, position)
        if found and found.start() < tail:
            return found.start()
        first = self._sought.first.search(self._held, tail)
        return first.start() if first else len(self._held)

    def _step(self, position: int) -> None:
        byte = bytes(self._held[position : position + 1])
        new = (((number, 0, b""), position) for number in range(len(self._sought.forms)))
        begun: dict[_State, int] = {}
        for (number, place, pending), start in chain(self._begun.items(), new):
            form, spelled = self._sought.forms[number], pending + byte
            for state in _following(form, number, place, spelled):
                if state[1] == len(form):
                    self._found.append((start, position + 1))
                else:
                    begun[state] = min(start, begun.get(state, start))
        if len(begun) > _MAX_BEGUN:
            raise RepetitiveValueError
        self._begun = begun

    def _released(self, limit: int) -> bytes:
        """Return what was held before *limit*, with the mark for each part that was found."""
        parts = bytearray()
        for start, end in sorted(self._found):
            if start < limit and end > self._passed:
                parts += self._held[self._passed : max(start, self._passed)] + MARK
                self._passed = end
        self._found = [(start, end) for start, end in self._found if start >= limit]
        if limit > self._passed:
            parts += self._held[self._passed : limit]
            self._passed = limit
        self._forget(self._passed)
        return bytes(parts)

    def _forget(self, count: int) -> None:
        del self._held[:count]
        self._passed = 0
        self._begun = {state: start - count for state, start in self._begun.items()}
        self._found = [(start - count, end - count) for start, end in self._found]


def _following(form: Form, number: int, place: int, spelled: bytes) -> Iterator[_State]:
    """Yield the states after *spelled* at a *place* of the form of this *number*."""
    if spelled in form[place].spellings:
        yield number, place + 1, b""
    if spelled in form[place].beginnings:
        yield number, place, spelled


def _by_first_byte(starts: Sequence[Form]) -> Mapping[bytes, Sequence[bytes]]:
    """Return the patterns for the rests of *starts*, by their first byte: so `re` skips others fast."""
    found: dict[bytes, list[bytes]] = defaultdict(list)
    for first, *units in starts:
        rest = b"".join(map(_spelled, units))
        for spelling in first.spellings:
            found[spelling[:1]].append(re.escape(spelling[1:]) + rest)
    return found


def _pattern(byte: bytes, rests: Sequence[bytes]) -> bytes:
    return re.escape(byte) + b"(?:%s)" % b"|".join(rests)


def _spelled(unit: Unit) -> bytes:
    return b"(?:%s)" % b"|".join(map(re.escape, unit.spellings))
