"""A written trail, and the commands on it."""

from tests.cli.conftest import trail, written

__all__ = ["trail", "written"]
