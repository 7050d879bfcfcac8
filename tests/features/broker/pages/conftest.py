"""The console and people in front of it."""

from tests.support.console import *  # noqa: F403 - its fixtures
