"""System requirements of tests that no Python package provides, and the start of other programs."""

import os
import shutil
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def needs(command: str, *other_names: str, package: str = "") -> str:
    """Return the path of the system's *command*, by any of its names; without it, skip the test.

    In CI (environment `CI=true`) the test fails instead: nothing may be skipped there. *package* is the
    Debian package of the command, if it has another name.
    """
    for name in (command, *other_names):
        if path := shutil.which(name):
            return path
    raise missing(f"needs {command} (Debian package: {package or command})")


def missing(reason: str) -> BaseException:
    """Return the exception that skips the test for *reason* or, in CI, fails it."""
    if os.environ.get("CI") == "true":
        return pytest.fail.Exception(reason, pytrace=False)
    return pytest.skip.Exception(reason)


def unmeasured() -> dict[str, str]:
    """Return the environment of a process without coverage, because measuring takes time."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}


def coverage_of_greenlets() -> dict[str, str]:
    """Return the variables by which a process that runs greenlets is measured, if this one is."""
    if "COVERAGE_PROCESS_CONFIG" not in os.environ:
        return {}
    return {
        "COVERAGE_PROCESS_START": str(_ROOT / "tests/support/service.coveragerc"),
        "COVERAGE_FILE": str(_ROOT / ".coverage"),
    }
