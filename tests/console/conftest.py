"""Shared fixtures of the tests of the console."""

from tests.support.console import (
    app,
    console_app,
    console_environment,
    provider,
    signed_in,
    someone,
    stored,
)

__all__ = ["app", "console_app", "console_environment", "provider", "signed_in", "someone", "stored"]
