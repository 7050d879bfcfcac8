"""The table of a run."""

import pytest

from tests.qa.faults import report
from tests.qa.faults.campaign import Injection
from tests.qa.faults.evidence import Findings
from tests.qa.faults.history import BUSY, NOT_SENT, UNKNOWN, History, Request
from tests.qa.faults.run import Result


def request(sent: float, answered: float, status: int, *, text: str = "") -> Request:
    return Request("id", "fetch", "a", {}, sent, answered, status, text)


HISTORY = History(
    [
        request(9, 10.5, 200),
        request(10, 12, 503),
        request(11, 14, UNKNOWN),
        request(13, 16, 200),
        request(16, 17, 503, text=BUSY),
        request(16, 18, 404),
        request(18, 19, 200),
        request(20, 21, NOT_SENT),
        request(21, 22, 200),
    ]
)


def test_the_impact_of_a_fault_on_users() -> None:
    """The impact has the longest time without a success, and the time until the last failure."""
    impact = report.impact(Injection("kind", began=10, removed=15, ended=20), HISTORY)
    assert impact == report.Impact(outage=5.5, recovery=4)


def test_the_table_has_a_row_for_each_kind() -> None:
    """Faults of one kind share a row, with their median and worst."""
    injections = [
        Injection("kind", began=10, removed=15, ended=20),
        Injection("other", began=20, removed=20, ended=23),
        Injection("kind", began=30, removed=33, ended=40),
    ]
    rows = report.table(injections, HISTORY).splitlines()[2:]
    assert rows == [
        "| kind | 4 | 7.8, 10.0 | 2.0, 4.0 |",
        "| other | 0 | 2.0, 2.0 | 1.0, 1.0 |",
    ]


@pytest.mark.parametrize(("trail", "verifies"), [("", "yes"), ("entry 7 is missing", "NO")])
def test_the_totals(trail: str, verifies: str) -> None:
    """The totals list the outcomes of all requests, the violations, and the result of verifying the trail."""
    totals = report.totals(HISTORY, Result([], Findings(lost=["a", "b"]), trail))
    rows = dict(line.strip("| ").split(" | ") for line in totals.splitlines()[2:])
    assert rows == {
        "requests": "9",
        "answered": "5",
        "refused with 503": "2",
        "no reply": "1",
        "no connection": "1",
        "refused because of another change of the secret": "1",
        "longest block after a failed change": "3.0 s",
        "slowest reply": "3.0 s",
        "lost": "2",
        "duplicated": "0",
        "missing entries": "0",
        "values of another secret": "0",
        "values in refusals": "0",
        "unexpected replies": "0",
        "trail verifies": verifies,
    }
