"""The console and people in front of it."""

from tests.support.console import (
    app,
    console_app,
    console_environment,
    signed_in,
    someone,
    stored,
)

__all__ = ["app", "console_app", "console_environment", "signed_in", "someone", "stored"]
