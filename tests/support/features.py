"""Tables about a feature that general tests read, in the module `tables` of its tests, if it has one.

- commands: `ENTRIES`, `SUCCESSES`; errors without a refusal: `IN_COMMANDS`
- operations: `OPEN_OPERATIONS`, `FURTHER_SCOPES`, `NAMED_OPERATIONS`, `NEW_NAMES`,
  `OUTSIDE`; bodies: `BODIES`,
  `QUERIES`, `QUERY_CHANGES`; replies: `RETURNED`, `conflicts`
- collections: `use`; documents that end with their creator: `create`
- screens: `SCREENS`, `CONSOLE_ADDRESSES`; `report_sections`
- events: `make_events`; metrics: `LABELS`; settings: `INVALID_SETTINGS`, `WRONG_SETTINGS`,
  `DOUBTFUL_SETTINGS`, `SETTINGS_ELSEWHERE`
- the search for leaks: `CONFIGURED` (free texts), `CREDENTIALS`, `LARGE`, `UNKNOWN`, `LEAK_SETTINGS`,
  `OTHER_PRINTS`, `TOKENS`, `CALLERS`: see `tests/system/leaks_world.py`
"""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from vault.common.feature import features


def tables(name: str) -> Iterator[Any]:
    """Yield the table *name* of each feature whose tests have it."""
    for feature in features():
        module = f"tests.features.{feature.name}.tables"
        if find_spec(module) and hasattr(found := import_module(module), name):
            yield getattr(found, name)


def rows(name: str) -> list[Any]:
    """Return the rows of the tables *name*."""
    return [row for table in tables(name) for row in table]


def merged(name: str) -> dict[str, Any]:
    """Return the tables *name* as one."""
    return {key: value for table in tables(name) for key, value in table.items()}


def requires(name: str) -> pytest.MarkDecorator:
    """Return the mark of a general test that also uses the feature *name*, and is skipped without it."""
    return pytest.mark.skipif(name not in {feature.name for feature in features()}, reason=f"no {name}")
