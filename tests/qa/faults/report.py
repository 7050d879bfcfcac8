"""The result of a run, as the table of docs/reliability.md."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from tests.qa.faults.campaign import Injection
from tests.qa.faults.history import NOT_SENT, UNAVAILABLE, UNKNOWN, History
from tests.qa.faults.run import Result

_HEAD = "| fault | lasts | outage: median, worst | recovery: median, worst |\n| --- | --- | --- | --- |"


@dataclass(frozen=True, slots=True)
class Impact:
    """The effect of one fault on the requests of its time. Seconds."""

    #: The longest time without a successful request.
    outage: float
    #: From its beginning to the answer of the last failed request; 0 if none failed.
    recovery: float


def impact(injection: Injection, history: History) -> Impact:
    """Return the effect of *injection*."""
    during = [one for one in history if injection.began <= one.answered < injection.ended]
    failures = [one.answered for one in during if one.failed and not one.met_another]
    successes = sorted(one.answered for one in during if one.succeeded)
    times = [injection.began, *successes, injection.ended]
    return Impact(
        max(after - before for before, after in pairwise(times)),
        max(failures, default=injection.began) - injection.began,
    )


def table(injections: Sequence[Injection], history: History) -> str:
    """Return the faults by kind, with their effect on users."""
    return "\n".join([_HEAD, *_rows(injections, history)])


def _rows(injections: Sequence[Injection], history: History) -> Iterator[str]:
    for kind in dict.fromkeys(injection.kind for injection in injections):
        these = [injection for injection in injections if injection.kind == kind]
        impacts = [impact(injection, history) for injection in these]
        lasted = median(injection.removed - injection.began for injection in these)
        columns = [
            kind,
            f"{lasted:.0f}",
            _median_and_worst([one.outage for one in impacts]),
            _median_and_worst([one.recovery for one in impacts]),
        ]
        yield f"| {' | '.join(columns)} |"


def _median_and_worst(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.1f}, {max(seconds):.1f}"


def longest_held(history: History) -> float:
    """Return the maximum seconds for which a secret could not be changed after a failed change."""
    longest = 0.0
    failures: dict[str, float] = {}
    for one in history:
        if one.met_another:
            longest = max(longest, one.answered - failures.get(one.secret, one.answered))
        elif one.failed:
            failures[one.secret] = one.answered
    return longest


def totals(history: History, result: Result) -> str:
    """Return the outcomes of the requests, and the violations."""
    findings = result.findings
    outcomes = {UNAVAILABLE: "refused", UNKNOWN: "unknown", NOT_SENT: "not sent"}
    found = Counter(outcomes.get(one.status, "answered") for one in history)
    slowest = max((one.answered - one.sent for one in history), default=0)
    rows = {
        "requests": sum(found.values()),
        "answered": found["answered"],
        "refused with 503": found["refused"],
        "no reply": found["unknown"],
        "no connection": found["not sent"],
        "refused because of another change of the secret": sum(one.met_another for one in history),
        "longest block after a failed change": f"{longest_held(history):.1f} s",
        "slowest reply": f"{slowest:.1f} s",
        "lost": len(findings.lost),
        "duplicated": len(findings.duplicated),
        "missing entries": len(findings.unrecorded),
        "values of another secret": len(findings.swapped),
        "values in refusals": len(findings.leaked),
        "unexpected replies": len(findings.unexpected),
        "trail verifies": "NO" if result.trail else "yes",
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items())])
