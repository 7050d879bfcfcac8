"""The report of a failed test: some lines, and no values that leaked."""

from collections.abc import Generator

import pytest

from tests.support.leaks import LeakError

#: Captured lines that a report has of one kind, such as of the log.
_MAX_LINES = 40


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shorten what was captured, and omit it after a leak, which it contains."""
    report = yield
    leaked = call.excinfo is not None and call.excinfo.errisinstance(LeakError)
    item.stash[_LEAKED] = leaked or item.stash.get(_LEAKED, False)
    report.sections = shortened(report.sections, leaked=item.stash[_LEAKED])
    return report


_LEAKED = pytest.StashKey[bool]()


def shortened(sections: list[tuple[str, str]], *, leaked: bool) -> list[tuple[str, str]]:
    """Return the ends of *sections* of a report, headings and texts; none if values may have *leaked*."""
    return [] if leaked else [(heading, _end(text)) for heading, text in sections]


def _end(text: str) -> str:
    lines = text.splitlines()
    omitted = len(lines) - _MAX_LINES
    if omitted <= 0:
        return text
    return "\n".join([f"({omitted} more lines)", *lines[-_MAX_LINES:]])
