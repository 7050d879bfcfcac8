"""A service whose machine has a wrong clock."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import running_app
from tests.support.access import bearer, make_token
from tests.support.clocks import can_set_clock, clock_environment, set_clock
from tests.support.rotation import Stored
from tests.support.service import Service

pytestmark = pytest.mark.skipif(not can_set_clock(), reason="needs Debian's package libfaketime")

_HOUR, _DAY = 3_600, 86_400


class _Skewed:
    """The running service with another clock, and an administrator's token."""

    def __init__(self, service: Service, token: str, clock: Path) -> None:
        self._service, self._token, self._clock = service, token, clock

    def set_clock(self, seconds: int) -> None:
        """Set its clock so many *seconds* ahead, and wait until it has noticed."""
        set_clock(self._clock, seconds)
        self._service.wait_until("/health/ready", status=503)

    def __call__(self, operation: str, **body: Any) -> Any:
        """Return the reply to *operation*, which succeeds."""
        reply = self._service.post(f"/vault/{operation}", body, **bearer(self._token))
        assert reply.status == 200, reply.body
        return reply.body


@pytest.fixture
def skewed(environment: dict[str, str], tmp_path: Path) -> Iterator[_Skewed]:
    """Return the service in a process with a clock of its own."""
    clock = tmp_path / "clock"
    set_clock(clock, 0)
    environment |= {"DELETE_RECOVERY_DAYS": "1", "WEB_CONCURRENCY": "1"}
    with running_app(environment) as app:
        token = make_token(app, "ci", role="admin")
    with Service(environment | clock_environment(clock), folder=tmp_path) as service:
        service.wait_until_started()
        yield _Skewed(service, token, clock)


def _left(time: datetime) -> float:
    return (time - datetime.now(UTC)).total_seconds()


def test_a_clock_behind_destroys_nothing_early(skewed: _Skewed, stored: Stored) -> None:
    """MongoDB keeps secrets and links for their whole life, however far behind the service's clock is."""
    skewed.set_clock(-3 * _HOUR)
    skewed("secret/create", secret="YQ==", name="a", ttl_seconds=_HOUR)
    skewed("secret/create", secret="YQ==", name="b")
    skewed("secret/update-metadata", name="b", ttl_seconds=_HOUR)
    skewed("secret/create", secret="YQ==", name="c")
    skewed("secret/delete", name="c")
    skewed("secret/share", secret="YQ==", ttl_seconds=_HOUR)
    skewed("secret/request", name="d", ttl_seconds=_HOUR)
    left = {one.get("name", "share"): _left(one["purge_at"]) for one in stored.secrets.find()}
    [request] = stored.requests.find()
    left["d"] = _left(request["expires_at"])
    expected = {"a": _HOUR, "b": _HOUR, "c": _DAY, "share": _HOUR, "d": _HOUR}
    assert {name: abs(seconds - expected[name]) < 300 for name, seconds in left.items()} == dict.fromkeys(
        expected, True
    )
    assert skewed("secret/fetch", name="a") == {"secret": "YQ=="}


def test_a_clock_ahead_ends_nothing_early(skewed: _Skewed, stored: Stored) -> None:
    """A service whose clock is hours ahead reads what has not expired, and stores nothing for longer."""
    skewed("secret/create", secret="YQ==", name="a", ttl_seconds=_HOUR)
    skewed.set_clock(3 * _HOUR)
    assert skewed("secret/fetch", name="a") == {"secret": "YQ=="}
    skewed("secret/create", secret="YQ==", name="b", ttl_seconds=_HOUR)
    [found] = stored.secrets.find({"name": "b"})
    assert _left(found["expires_at"]) < _HOUR + timedelta(minutes=5).total_seconds()
