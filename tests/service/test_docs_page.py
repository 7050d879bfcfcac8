"""The page `/docs`: its files, and in a browser what it shows and sends."""

import json
import os
import re
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect

from tests.docs.documents import ROOT
from tests.support.browser import TIMEOUT, running_browser
from tests.support.service import Service
from tests.support.system import needs

pytestmark = pytest.mark.process

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
CONTENT_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
#: The files of the page itself: none is left over.
# The other style sheet is that of the pages about problems.
OWN = {file.name for file in (ROOT / "vault" / "service" / "site" / "static").iterdir()} - {"problems.css"}
CREATE = "/vault/secret/create"
FETCH = "/vault/secret/fetch"
#: The names of padlocks.
OPEN, CLOSED = "authorization button unlocked", "authorization button locked"
#: Text with characters of one to four bytes in UTF-8.
TEXT = "pässwörd € 𝄞\nsecond line"


class Elements(HTMLParser):
    """The elements of a page, and the text inside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.inline = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element."""
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        """Record inline code."""
        if self.cdata_elem in ("script", "style"):
            self.inline += data


@pytest.fixture
def elements(client: FlaskClient) -> Elements:
    """Return the elements of the page."""
    with client.get("/docs") as reply:
        return Elements(reply.text)


@pytest.fixture
def assets(elements: Elements) -> list[str]:
    """Return the addresses of all assets that the page loads."""
    return [
        attributes["href" if tag == "link" else "src"]
        for tag, attributes in elements.found
        if tag in ("link", "script")
    ]


# --- Its files


def test_root_leads_to_the_page(client: FlaskClient) -> None:
    """A browser that opens the service's address gets to the page, whatever host it asked."""
    reply = client.get("/", headers={"Host": "evil.example"})
    assert (reply.status_code, reply.headers["Location"]) == (302, "/docs")


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_page_answers_directly(client: FlaskClient, path: str) -> None:
    """The page answers with and without a trailing slash, and neither redirects."""
    reply = client.get(path)
    assert (reply.status_code, reply.content_type) == (200, "text/html; charset=utf-8")
    assert reply.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert reply.headers["Referrer-Policy"] == "no-referrer"


def test_assets_are_served_by_the_service(client: FlaskClient, assets: list[str]) -> None:
    """The service serves all assets of the page, with the right type and the page's policy."""
    assert {path.rpartition("/")[2] for path in assets} == {*OWN, "swagger-ui.css", "swagger-ui-bundle.js"}
    for path in assets:
        with client.get(path) as reply:
            assert reply.status_code == 200, path
            assert reply.mimetype == CONTENT_TYPES[path.rpartition(".")[2]]
            assert reply.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            assert len(reply.data) > 100


@pytest.mark.promise("network")
def test_page_has_no_external_references(elements: Elements) -> None:
    """The page refers to this service only, and needs no inline code or style."""
    for tag, attributes in elements.found:
        for name, value in attributes.items():
            assert name != "style", tag
            assert not name.startswith("on"), tag
            if name in ("href", "src", "action", "data-document"):
                assert re.match("/[a-z]", value), value
    assert elements.inline.strip() == ""


def test_own_assets_have_no_external_references(client: FlaskClient, assets: list[str]) -> None:
    """The page's own scripts and style refer to no other host."""
    own = [path for path in assets if path.startswith("/docs/page/") and not path.endswith(".svg")]
    assert len(own) == len(OWN) - 1
    for path in own:
        with client.get(path) as reply:
            assert "//" not in re.sub(r"^\s*//.*$", "", reply.text, flags=re.MULTILINE)


@pytest.mark.promise("network")
@pytest.mark.parametrize(
    "path",
    [
        "/docs/ui/",
        "/docs/ui/oauth2-redirect.html",
        "/docs/page/missing.css",
        "/docs/page/",
    ],
)
def test_no_other_files_are_served(client: FlaskClient, path: str) -> None:
    """Files that the page does not need return 404, even if Swagger UI's package contains them."""
    reply = client.get(path)
    assert (reply.status_code, reply.content_type) == (404, "application/problem+json")


# --- In a browser


class DocsPage:
    """The page of *service* in a browser; it records everything that a finished page must not do."""

    def __init__(self, browser: Browser, service: Service) -> None:
        self._origin = service.url + "/"
        self.complaints: list[str] = []
        self.page: Page = browser.new_page()
        self.page.set_default_timeout(TIMEOUT)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", self._on_request)
        self.page.add_init_script(
            "document.addEventListener('securitypolicyviolation', event =>"
            " console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
        )
        self.page.goto(f"{service.url}/docs")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "assert"):
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self._origin, "data:")):
            self.complaints.append(f"outside: {request.url}")

    def open(self, path: str) -> Locator:
        """Return the operation at *path*, ready to execute."""
        operation = self.page.locator(".opblock").filter(has=self.page.locator(f'[data-path="{path}"]'))
        operation.locator(".opblock-summary-control").first.click()
        operation.get_by_role("button", name="Try it out").click()
        return operation

    def execute(self, operation: Locator, body: object) -> tuple[str, dict[str, Any]]:
        """Send *body*; return the displayed status and reply."""
        operation.locator("textarea.body-param__text").fill(json.dumps(body))
        operation.get_by_role("button", name="Execute").click()
        reply = operation.locator(".live-responses-table .response")
        status = reply.locator(".response-col_status").inner_text()
        return status.split()[0], json.loads(reply.locator(".highlight-code code").first.inner_text())


@pytest.fixture
def browser() -> Iterator[Browser]:
    """Run a browser."""
    with running_browser() as browser:
        yield browser


@pytest.mark.promise("network")
def test_what_a_reader_does_in_a_browser(browser: Browser, guarded: tuple[Service, str]) -> None:
    """Operations are refused before *Authorize* and answered after; the page shows and stores no token.

    Plain text becomes base64 in the body; a fetched value is shown as text only on demand. The command to
    copy has no token, and works with one in the variable `TOKEN`.
    """
    service, token = guarded
    docs = DocsPage(browser, service)
    create = docs.open(CREATE)
    assert docs.execute(create, {"secret": "YQ=="})[0] == "401"
    padlocks = docs.page.locator(".opblock .authorization__btn")
    assert {lock.get_attribute("aria-label") for lock in padlocks.all()} == {OPEN}
    _authorize(docs.page, token)
    assert {lock.get_attribute("aria-label") for lock in padlocks.all()} == {CLOSED}
    create.get_by_role("button", name="Clear").click()
    field = create.get_by_label("Plain text of secret")
    field.fill(TEXT)
    body = json.loads(create.locator("textarea.body-param__text").input_value())
    assert body["secret"] == b64encode(TEXT.encode()).decode()
    status, created = docs.execute(create, {"secret": body["secret"]})
    assert status == "200"
    command = create.locator(".curl-command pre").inner_text()
    assert "accept: application/json, application/problem+json" in command
    assert set(_run(command, token)) == {"secret_id"}
    fetch = docs.open(FETCH)
    assert docs.execute(fetch, created) == ("200", {"secret": body["secret"]})
    show = fetch.get_by_role("button", name="Show plain text")
    assert TEXT not in fetch.inner_text()
    show.click()
    expect(fetch.locator("pre", has_text=TEXT)).to_be_visible()
    fetch.get_by_role("button", name="Hide plain text").click()
    expect(fetch.locator("pre", has_text=TEXT)).to_have_count(0)
    create.locator("textarea.body-param__text").fill('{"secret": "/w=="}')
    expect(field).to_have_attribute("placeholder", "The value is not text in UTF-8.")
    assert token not in docs.page.content()
    assert (
        docs.page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])") == '[{},{},""]'
    )
    assert [text for text in docs.complaints if "401" not in text] == []


def _run(command: str, token: str) -> Any:
    """Return the reply to a *command* of the page, in a shell in which `TOKEN` is set."""
    needs("curl")
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "TOKEN": token},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


def _authorize(page: Page, token: str) -> None:
    page.locator(".auth-wrapper .authorize").click()
    field = page.locator("#auth-bearer-value")
    expect(field).to_have_attribute("type", "password")
    field.fill(token)
    page.locator(".auth-btn-wrapper .authorize").click()
    page.locator(".auth-btn-wrapper .btn-done").click()
