"""MongoDB's conditions and expressions, evaluated on an entry that is not in MongoDB.

Only those that `vault.features.exposure.knowledge` uses. Unlike in MongoDB, no path leads into a list.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from bson import Int64

Document = Mapping[str, Any]

#: The value at a path that does not exist.
MISSING: Final = object()

_TYPES = {
    str: "string",
    bool: "bool",
    int: "int",
    dict: "object",
    list: "array",
    datetime: "date",
    type(None): "null",
    object: "missing",
}


def matches(condition: Mapping[str, Any], document: Document) -> bool:
    """Return whether *document* meets the *condition* of a query."""
    return all(_meets(name, wanted, document) for name, wanted in condition.items())


def value(expression: Any, document: Document) -> Any:
    """Return the value of an *expression* for *document*; `MISSING` for a path that does not exist."""
    match expression:
        case str() if expression.startswith("$"):
            return _at(expression[1:], document)
        case Mapping():
            [(name, operand)] = expression.items()
            return _FUNCTIONS[name](operand, document)
        case _:
            return expression


def _meets(name: str, wanted: Any, document: Document) -> bool:
    match name:
        case "$nor":
            return not any(matches(one, document) for one in wanted)
        case "$expr":
            return bool(value(wanted, document))
    found = _at(name, document)
    if isinstance(wanted, Mapping):
        return all(_OPERATORS[operator](found, operand) for operator, operand in wanted.items())
    return _equals(found, wanted)


def _at(path: str, document: Document) -> Any:
    found: Any = document
    for name in path.split("."):
        found = found.get(name, MISSING) if isinstance(found, Mapping) else MISSING
    # Anyone who can write to MongoDB can store an integer as a long: its hash and its value stay.
    return int(found) if type(found) is Int64 else found


def _equals(one: Any, other: Any) -> bool:
    # To Python, a bool is an integer.
    return type(one) is type(other) and bool(one == other)


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$in": lambda found, wanted: any(_equals(found, one) for one in wanted),
    "$ne": lambda found, wanted: not _equals(found, wanted),
    "$gte": lambda found, wanted: type(found) is type(wanted) and bool(found >= wanted),
}

_FUNCTIONS: Mapping[str, Callable[[Any, Document], Any]] = {
    "$and": lambda operand, document: all(value(one, document) for one in operand),
    "$cond": lambda operand, document: value(operand[1 if value(operand[0], document) else 2], document),
    "$eq": lambda operand, document: value(operand[0], document) == value(operand[1], document),
    "$in": lambda operand, document: value(operand[0], document) in operand[1],
    "$lte": lambda operand, document: value(operand[0], document) <= value(operand[1], document),
    "$ne": lambda operand, document: value(operand[0], document) != value(operand[1], document),
    "$strLenBytes": lambda operand, document: len(value(operand, document).encode(errors="replace")),
    "$switch": lambda operand, document: value(_branch(operand, document), document),
    "$type": lambda operand, document: _TYPES.get(type(value(operand, document)), "another"),
}


def _branch(operand: Mapping[str, Any], document: Document) -> Any:
    """Return the expression of the first branch that applies."""
    branches = (branch["then"] for branch in operand["branches"] if value(branch["case"], document))
    return next(branches, operand["default"])
