"""The tier of each test: `process`, some of which are slow, `database` or `unit`."""

import sys
from collections.abc import Iterator

import pytest

#: Beginnings of the paths of tests in which whole services run next to other programs.
_SLOW = (
    *("docs/", "monitoring/"),
    *(
        "common/observability/",
        "server/",
        "system/",
        "service/site/",
        "service/test_docs_page",
        "clients/dev/",
    ),
    *("service/commands/audit/test_verify_lifecycle", "features/mongodb/", "common/test_processes"),
)
#: The fixtures that start programs other than MongoDB, also Docker.
_PROGRAMS = {"guarded", "image", "openbao", "service", "shared_service"}


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Give *item* the marker of its tier: `process`, `database` or `unit`; and `slow`, if it is."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if fixtures & _PROGRAMS:
        item.add_marker("process")
    if not item.get_closest_marker("process"):
        item.add_marker("database" if "mongod" in fixtures else "unit")
    elif item.get_closest_marker("long") or item.nodeid.removeprefix("tests/").startswith(_SLOW):
        item.add_marker("slow")


def _refuse_programs(event: str, _arguments: object) -> None:
    """Refuse the start of a program by a test of another tier than `process`."""
    if event == "subprocess.Popen" and _running and not _running[0].get_closest_marker("process"):
        raise AssertionError("a test that starts a program is marked `process`")


_running: list[pytest.Item] = []
sys.addaudithook(_refuse_programs)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note which test runs."""
    _running[:] = [item]
    try:
        return (yield)
    finally:
        _running.clear()
