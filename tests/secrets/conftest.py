"""Shared fixtures of the tests of secrets."""

from tests.support.shared_application import app, shared_app, stored

__all__ = ["app", "shared_app", "stored"]
