"""What tests need of the machine that no Python package brings, and how they start what is not ours."""

import os
import shutil

import pytest


def needs(command: str, *other_names: str, package: str = "") -> str:
    """Return where the system's *command* is, under whichever of its names; without it, skip the test.

    In CI (environment `CI=true`) the test fails instead: nothing may be skipped there.
    *package* is the Debian package that brings the command, where it has another name.
    """
    for name in (command, *other_names):
        if path := shutil.which(name):
            return path
    reason = f"needs {command} (Debian package: {package or command})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def unmeasured() -> dict[str, str]:
    """Return the environment of a process whose coverage nobody asks for: measuring it takes time."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
