"""The modules of the load tests, which are programs and no package."""

from pathlib import Path
from types import ModuleType

import pytest

LOADTEST = Path(__file__).parents[3] / "loadtest"


def imported(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module called *name*."""
    monkeypatch.syspath_prepend(str(LOADTEST))
    return __import__(name)
