"""Fixtures of the tests of deliveries, which the driver's tests have, too."""

from tests.clients.swarm.conftest import _one_process, _patient

__all__ = ["_one_process", "_patient"]
