"""A written trail, and the commands on it."""

from tests.support.command_fixtures import trail, written

__all__ = ["trail", "written"]
