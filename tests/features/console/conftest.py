"""Shared fixtures of the tests of the console."""

from collections.abc import Iterator

import pytest

from tests.features.console.provider import Provider
from tests.support.console import (
    app,
    console_app,
    console_environment,
    signed_in,
    someone,
    stored,
)

__all__ = ["app", "console_app", "console_environment", "signed_in", "someone", "stored"]


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    """Run a provider of OpenID Connect for all tests of a module."""
    provider = Provider()
    with provider.running("http://localhost", "https://vault.example"):
        yield provider
