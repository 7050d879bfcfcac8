"""Fixtures of the tests of JWTs."""

from tests.core.access.conftest import reads

__all__ = ["reads"]
