"""A swarm with the service."""

from tests.clients.swarm.conftest import _one_process, _patient, released, world

__all__ = ["_one_process", "_patient", "released", "world"]
