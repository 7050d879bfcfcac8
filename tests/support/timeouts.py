"""The service's timeouts that a process exceeds if a busy machine stalls it or MongoDB."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from runpy import run_path
from typing import Any

#: The timeout in place of each, in seconds.
LONG_SECONDS = 60

_NAMES = (
    "vault.core.documents.database.OPERATION_TIMEOUT_SECONDS",
    "vault.core.documents.guard.OPERATION_TIMEOUT_SECONDS",
    "vault.core.trail.reader.OPERATION_TIMEOUT_SECONDS",
    "vault.core.trail.writer.OPERATION_TIMEOUT_SECONDS",
    "vault.common.retries._TIMEOUT_SECONDS",
    "vault.toolkit.http.memory._WAIT_TIMEOUT_SECONDS",
    "vault.core.secrets.metadata._WAIT_SECONDS",
    "vault.core.trail.sinks._TIMEOUT_SECONDS",
    "vault.core.keys.status._SCRAPE_TIMEOUT_SECONDS",
)


def lengthen(set_attribute: Callable[..., None], set_item: Callable[..., None], *, but: str = "-") -> None:
    """Lengthen them by these functions, such as `setattr`: MongoDB can be slow, and is never away.

    Those whose names begin with *but* stay.
    """
    for name in (*_NAMES, *_of_features()):
        if name.startswith(but):
            continue
        module, _, attribute = name.rpartition(".")
        set_attribute(import_module(module), attribute, float(LONG_SECONDS))
    limits: Any = import_module("vault.toolkit.http.counters")
    set_attribute(limits, "_TIMEOUT_MILLISECONDS", LONG_SECONDS * 1_000)
    database: Any = import_module("vault.core.documents.database")
    set_item(database._OPTIONS, "connectTimeoutMS", LONG_SECONDS * 1_000)
    set_item(database.Database.__init__.__kwdefaults__, "timeout_seconds", LONG_SECONDS)


def _of_features() -> Iterator[str]:
    """Yield the names in `tests/features/*/timeouts.py`, without the package `tests`: it makes a folder."""
    for path in sorted(Path(__file__).parents[1].glob("features/*/timeouts.py")):
        yield from run_path(str(path))["NAMES"]
