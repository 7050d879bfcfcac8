"""Screens of the console in a browser, and what a finished one must not do, show or keep."""

import json
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import BrowserContext, Page, expect

from tests.support.browser import TIMEOUT
from tests.support.features import tables
from tests.support.service import Service
from tests.support.system import missing

VALUE = "hunter2-planted <i>\nsecond line"
#: The beginning of the value, which is in nothing that is kept.
MARK = "hunter2-planted"
NAME = "billing/eu/db-password"
#: Every screen, by its address below `/console/`.
SCREENS = (
    "",
    "?folder=billing/",
    "?folder=none/",
    "?q=db",
    "?q=nothing-has-this",
    f"secret?name={quote(NAME, safe='')}",
    "secret?name=none",
    "?show=expiring",
    "?show=unused",
    "activity",
    "audit",
    "deleted",
    "keys",
    "new",
    "request",
    "share",
    "sign-in",
    "status",
    "tokens",
    *chain.from_iterable(tables("CONSOLE_ADDRESSES")),
)

_AXE = Path(__file__).parent / "node_modules/axe-core/axe.min.js"
#: WCAG 2.2 AA, and good practice beyond it.
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def axe_source() -> str:
    """Return the source of axe-core."""
    if not _AXE.is_file():
        raise missing("needs axe-core: scripts/install_clients.sh")
    return _AXE.read_text()


class Screen:
    """A page in *context*; it records what a finished page must not do, and all that it loads."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.complaints: list[str] = []
        self.loaded: list[str] = []
        self.page: Page = context.new_page()
        self.page.set_default_timeout(TIMEOUT)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on(
            "response",
            lambda reply: reply.request.resource_type == "document" and self.loaded.append(reply.url),
        )

    def kept(self) -> str:
        """Return what the page and the browser keep: elements, addresses, cookies, storage and caches."""
        stores = self.page.evaluate(
            """async () => JSON.stringify([
                localStorage, sessionStorage, history.state, document.cookie, document.body.innerText,
                await indexedDB.databases(), await caches.keys(), [...document.querySelectorAll("input")]
                    .map((input) => input.value)])"""
        )
        storage = json.dumps(self.context.storage_state())
        return "\n".join((self.page.content(), self.page.url, *self.loaded, stores, storage))

    def sign_in(self, service: Service, token: str) -> None:
        """Open the console and sign in."""
        self.page.goto(f"{service.url}/console/")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_label("Token").press("Enter")
        expect(self.page.get_by_role("button", name="Sign out")).to_be_visible()
        self.page.goto(f"{service.url}/console/")
        self.shows("Secrets")

    def shows(self, heading: str) -> None:
        """Return once the page with this *heading* takes keys, which its script handles."""
        expect(self.page.get_by_role("heading", name=heading)).to_be_visible()
        self.page.wait_for_load_state()

    def flaws(self) -> list[str]:
        """Return what axe-core finds on the page, if it is serious."""
        devtools = self.context.new_cdp_session(self.page)
        # Not by an element: the page's policy allows no script but its own.
        devtools.send("Runtime.evaluate", {"expression": axe_source()})
        found: dict[str, Any] = devtools.send(
            "Runtime.evaluate",
            {
                "expression": f"axe.run(document, {json.dumps({'runOnly': _RULES})})"
                ".then((found) => JSON.stringify(found.violations))",
                "awaitPromise": True,
                "returnByValue": True,
            },
        )
        devtools.detach()
        return [
            f"{flaw['id']}: {[node['target'] for node in flaw['nodes']]}"
            for flaw in json.loads(found["result"]["value"])
            if flaw["impact"] in ("serious", "critical")
        ]

    def width(self) -> int:
        """Return the width of what the page shows, in pixels."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))
