"""Opened sources: their drivers, and operations that end in time."""

from threading import Event

import pytest

from tests.features.rotation.fake import Fake
from vault.features.rotation.errors import RotationRefusedError
from vault.features.rotation.sources import opening
from vault.features.rotation.sources.errors import SourceRefusedError, SourceUnavailableError
from vault.features.rotation.sources.opening import Timed, open_source
from vault.features.rotation.sources.source import SourceKind


def test_a_driver_that_hangs_or_fails_is_an_unavailable_source() -> None:
    """An operation ends in time. The text of an unexpected error, which may have a password, is not shown."""
    fake, released = Fake(), Event()
    fake.hook = lambda _: released.wait(60) and None
    with pytest.raises(SourceUnavailableError, match="does not answer within 1 s"):
        Timed(fake, 1).login("a", "b")
    released.set()

    def fail(_name: str) -> None:
        raise error

    fake.hook = fail
    error: Exception = ZeroDivisionError("hunter2")
    with pytest.raises(SourceUnavailableError, match=r"the driver failed: ZeroDivisionError\Z"):
        Timed(fake, 10).set_password("a", "b")
    error = SourceRefusedError("no")
    with pytest.raises(SourceRefusedError, match=r"\Ano\Z"):
        Timed(fake, 10).close("a", "b")


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, a plan is refused and says what to install."""
    monkeypatch.setattr(opening, "find_spec", lambda _: None)
    with pytest.raises(RotationRefusedError, match="install the extra `rotation`"):
        open_source(SourceKind.POSTGRESQL, "postgresql://a", seconds=1, commands=())
