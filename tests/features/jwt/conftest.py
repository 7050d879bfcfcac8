"""Fixtures of the tests of JWTs."""

from tests.auth.conftest import reads

__all__ = ["reads"]
