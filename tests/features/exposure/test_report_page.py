"""The page of a report: nothing in it runs, and a browser needs nothing else."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.support.browser import TIMEOUT, running_browser
from tests.support.features import tables
from vault.core.access.tokens.info import TokenInfo
from vault.core.keys.status import KeyRole, KeyStatus
from vault.core.trail.activity import Activity, Counts, Event, PrincipalRow, RefusalRow, SecretRow, Slot
from vault.core.trail.findings import Gravity
from vault.features.exposure.ages import AgedSecret, SecretAges, TokenAges
from vault.features.exposure.report_content import Report, Trail, Verification
from vault.features.exposure.report_page import page_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SECRET_ID = "550e8400-e29b-41d4-a716-446655440000"
#: Anything that would be an element, an attribute, a style or a reference, or would turn text around.
NASTY = (
    "<script>alert(1)</script>\"'><img src=//evil.test onerror=x>&lt;{{ 7*7 }}\u202egnp.\u2066\x1b[2J\u200b"
)


def report_of(text: str, kind: Gravity | None = Gravity.NOTE) -> Report:
    """Return a report in which every text that clients choose is *text*."""
    counts = Counts(reads=3, other=2, refused=1, failed=1)
    verification = kind and Verification(kind, 7, 2, 30, [text])
    activity = Activity(
        since=NOW - 30 * DAY,
        until=NOW,
        unit="day",
        counts=counts,
        slots=[Slot(NOW - DAY, counts)],
        hours=[[number % 5 for number in range(24)] for _ in range(7)],
        principal_count=20,
        principals=[PrincipalRow(text, counts, NOW, text, text)],
        secret_count=1,
        secrets=[SecretRow(text, 3, 1, NOW, [3]), SecretRow("quiet", 1, 1, NOW, [0])],
        refusal_reasons={text: 1},
        refusals=[RefusalRow(text, text, text, 1, NOW)],
        events=[Event(NOW, text, text, text, text), Event(NOW, "rewrap_end", "success", "operator", "")],
        last_backup=Event(NOW, text, text, text, text),
    )
    old = AgedSecret(SECRET_ID, text, text, NOW - 400 * DAY, NOW + DAY)
    unnamed = AgedSecret(SECRET_ID, "default", None, None, None)
    token = TokenInfo(name=text, state="active", namespace=text, created_at=NOW, expires_at=NOW)
    states = {"active": 1, "expired": 0, "revoked": 0, "altered": 0}
    head = {"stream": text, "seq": 7, "ts": text, "hash": text}
    return Report(
        NOW,
        "1.0",
        activity,
        Trail(True, 1, [head], verification),
        SecretAges(2, 1, {"under 7 days": 1, "365 days or more": 1}, [old, unnamed], 1, [old]),
        TokenAges(states, 1, [token], 1, [token]),
        [KeyStatus("aa" * 8, KeyRole.FALLBACK, 5, False, 2, 2, 0, 0)],
        {name: one for of in tables("report_sections") for name, one in of(text, NOW).items()},
    )


def empty() -> Report:
    """Return a report without anything in it."""
    report = report_of("a", kind=None)
    nothing: dict[str, Any] = {"slots": [], "principals": [], "secrets": [], "refusals": [], "events": []}
    activity = replace(report.activity, counts=Counts(), refusal_reasons={}, last_backup=None, **nothing)
    activity = replace(
        activity, hours=[[0] * 24 for _ in range(7)], principal_count=0, secret_count=0, last_backup=None
    )
    return replace(
        report,
        activity=activity,
        trail=Trail(False, 0, [], None),
        secrets=SecretAges(0, 0, {}, [], 0, []),
        tokens=TokenAges({}, 0, [], 0, []),
        keys=[],
    )


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element."""
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Record text."""
        self.text += data


@pytest.mark.promise("commands")
def test_hostile_text_is_only_text() -> None:
    """Markup and invisible characters in names and agents make no element, and are shown as they are."""
    plain, nasty = (Elements(page_of(report_of(text))) for text in ("plain", NASTY))
    assert nasty.tags == plain.tags
    names = {name for name, _ in nasty.attributes}
    assert not names & {"style", "src", "onerror", "onload", "href"}
    assert {"script", "img", "a", "link", "iframe", "object"}.isdisjoint(nasty.tags)
    assert "<script>alert(1)</script>" in nasty.text
    assert "{{ 7*7 }}\\u202egnp.\\u2066" in nasty.text
    page = page_of(report_of(NASTY))
    assert not set(page) & set("\u202e\u2066\u200b\x1b")


def test_long_texts_are_cut() -> None:
    """A text of any length takes no more room than a name."""
    assert len(page_of(report_of("x" * 100_000))) < len(page_of(report_of("x"))) + 5_000


@pytest.mark.promise("commands")
def test_no_whole_id_of_a_secret_is_shown() -> None:
    """A secret without a name is shown by the beginning of its ID only, in the page and as JSON."""
    report = report_of("a")
    assert SECRET_ID not in page_of(report)
    assert "550e8400…" in page_of(report)
    assert SECRET_ID not in str(report.data())
    assert report.data()["secrets"]["oldest"][1]["name"] == "550e8400…"


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (Gravity.NOTE, '"verdict good"><strong>The trail is intact.'),
        (Gravity.LOOK, '"verdict look"><strong>The trail is not proven intact.'),
        (Gravity.TAMPERING, '"verdict bad"><strong>The trail is NOT what the service wrote.'),
        (None, "The trail was not verified for this report."),
    ],
)
def test_the_verdict_comes_first(kind: Gravity | None, shown: str) -> None:
    """The result of the verification is at the top, before any figure."""
    page = page_of(report_of("a", kind))
    assert page.index(shown) < page.index('class="tiles"')


def test_a_page_without_anything_says_so() -> None:
    """Without entries, secrets, tokens and keys, each section says so."""
    text = Elements(page_of(empty())).text
    for line in (
        "No requests in this period.",
        "No secret was read",
        "No secrets.",
        "The audit trail is disabled.",
    ):
        assert line in text


def test_figures_are_complete() -> None:
    """Counts have separators, ages have whole days, and cut lists say how many there are."""
    report = report_of("a")
    soon = AgedSecret(SECRET_ID, "default", "soon", NOW, NOW + timedelta(minutes=48))
    report = replace(report, secrets=replace(report.secrets, expiring=[*report.secrets.expiring, soon]))
    text = " ".join(Elements(page_of(report)).text.split())
    for part in (
        "1 of 20 principals.",
        "400 d",
        "in 1 d",
        "in 0 d",
        "1 of 30 findings.",
        "5 pending rewraps",
        "1 failures",
    ):
        assert part in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run a browser for all tests of this module."""
    with running_browser() as browser:
        yield browser


@pytest.mark.promise("commands")
def test_a_browser_needs_only_the_file(browser: Browser, tmp_path: Path) -> None:
    """The page is shown in its style, requests nothing, reports no error and has no script that runs."""
    file = tmp_path / "report.html"
    file.write_text(page_of(report_of(NASTY)))
    colors = []
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
        context.set_default_timeout(TIMEOUT)
        page = context.new_page()
        requests: list[str] = []
        said: list[str] = []
        page.on("request", lambda request, requests=requests: requests.append(request.url))
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("dialog", lambda dialog, said=said: said.append(dialog.message))
        page.goto(file.as_uri())
        assert page.get_by_role("heading", name="Audit report").is_visible()
        assert page.get_by_role("img", name="Requests by day").bounding_box()
        assert (requests, said) == ([file.as_uri()], [])
        colors.append(page.screenshot(clip={"x": 0, "y": 0, "width": 4, "height": 4}))
        context.close()
    assert colors[0] != colors[1]


def test_a_narrow_page_keeps_words_in_one_piece(browser: Browser, tmp_path: Path) -> None:
    """At 400 pixels, tables scroll by themselves, and neither a heading nor an action is broken."""
    file = tmp_path / "report.html"
    file.write_text(page_of(report_of("token_create")))
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.set_default_timeout(TIMEOUT)
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == 400
    pieces = page.evaluate(
        "[...document.querySelectorAll('th bdi')].map(name => name.getClientRects().length)"
    )
    heights = page.evaluate("[...document.querySelectorAll('th, td')].map(cell => cell.offsetHeight)")
    assert max(pieces) == 1
    assert max(heights) < 60
    page.close()


def test_only_the_style_of_the_page_is_allowed() -> None:
    """The page's policy allows its own style sheet by its hash, and nothing else."""
    page = page_of(report_of("a"))
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[\w+/]{43}='; base-uri 'none'; form-action 'none'", policy
    )
