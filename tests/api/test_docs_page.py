"""The page `/docs`: its files, and in a browser what it shows and sends.

With `DOCS_PICTURE=docs/api.png` in the environment, the tests retake the documents' picture of the page.
"""

import json
import os
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from html.parser import HTMLParser
from typing import Any

import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, Request, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from tests.api.site.test_docs_page import operations
from tests.docs.documents import ROOT
from tests.support.browser import TIMEOUT, running_browser
from tests.support.service import Service
from vault.core.principal import ANONYMOUS

pytestmark = pytest.mark.process

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
CONTENT_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
#: The files of the page itself: none is left over.
# The other style sheet is that of the pages about problems.
OWN = {file.name for file in (ROOT / "vault" / "api" / "site" / "static").iterdir()} - {"problems.css"}
CREATE = "/vault/secret/create"
FETCH = "/vault/secret/fetch"
UPDATE = "/vault/secret/update"
DELETE = "/vault/secret/delete"
LIST = "/vault/secret/list"
MISSING = {"secret_id": "550e8400-e29b-41d4-a716-446655440000"}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}
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


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_root_leads_to_the_page(client: FlaskClient, method: str) -> None:
    """A browser that opens the service's address gets to the page, whatever host it asked."""
    reply = client.open("/", method=method, headers={"Host": "evil.example"})
    assert (reply.status_code, reply.headers["Location"]) == (302, "/docs")


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_page_answers_directly(client: FlaskClient, path: str, method: str) -> None:
    """The page answers with and without a trailing slash, and neither redirects."""
    reply = client.open(path, method=method)
    assert (reply.status_code, reply.content_type) == (200, "text/html; charset=utf-8")
    assert reply.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert reply.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
def test_page_is_read_only(client: FlaskClient, path: str) -> None:
    """Every method except reading is refused, and the refusal names the allowed ones."""
    reply = client.post(path)
    assert (reply.status_code, reply.content_type) == (405, "application/problem+json")
    assert set(reply.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


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


def test_assets_are_cached(client: FlaskClient, assets: list[str]) -> None:
    """A browser revalidates a cached asset and does not load it again."""
    for path in assets:
        with client.get(path) as reply:
            assert reply.headers["Cache-Control"] == "no-cache"
            etag = reply.headers["ETag"]
        with client.get(path, headers={"If-None-Match": etag}) as reply:
            assert (reply.status_code, reply.data) == (304, b"")


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
        "/docs/ui/swagger-ui.js",
        "/docs/ui/oauth2-redirect.html",
        "/docs/ui/VERSION",
        "/docs/page/missing.css",
        "/docs/page/",
        "/docs/missing",
    ],
)
def test_no_other_files_are_served(client: FlaskClient, path: str) -> None:
    """Files that the page does not need return 404, even if Swagger UI's package contains them."""
    reply = client.get(path)
    assert (reply.status_code, reply.content_type) == (404, "application/problem+json")


@pytest.mark.parametrize("folder", ["/docs/ui", "/docs/page"])
@pytest.mark.parametrize(
    "name",
    [
        "../templates/docs.html",
        "..%2ftemplates%2fdocs.html",
        "%2e%2e/templates/docs.html",
        "..%5ctemplates%5cdocs.html",
        "../../../problems.py",
        "../__init__.py",
        "swagger-ui.css/../VERSION",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "docs.js%00.html",
    ],
)
def test_no_path_leaves_the_asset_folders(client: FlaskClient, folder: str, name: str) -> None:
    """No spelling of a path leads out of the folders of assets."""
    reply = client.get(f"{folder}/{name}")
    assert (reply.status_code, reply.content_type) == (404, "application/problem+json")


# --- In a browser


class Watched:
    """A page of *service* that records everything a finished page must not do."""

    def __init__(self, browser: Browser, service: Service, fragment: str = "", **context: Any) -> None:
        self._origin = service.url + "/"
        address = f"{service.url}/docs{fragment}"
        self.page: Page = self._new_page(browser, context)
        # Chromium may leave a reply unread, without an error: once in some thousand pages.
        if not self._draws(address, within=TIMEOUT / 3):
            assert self.complaints == []
            self.page.context.close()
            self.page = self._new_page(browser, context)
            is_drawn = self._draws(address, within=TIMEOUT)
            assert is_drawn, f"unanswered: {sorted(request.url for request in self._unanswered)}"

    def _new_page(self, browser: Browser, context: dict[str, Any]) -> Page:
        self.complaints: list[str] = []
        self._unanswered: set[Request] = set()
        page = browser.new_page(**context)
        page.set_default_timeout(TIMEOUT)
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._on_request)
        page.on("requestfinished", lambda request: self._unanswered.discard(request))
        page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        page.add_init_script(
            "document.addEventListener('securitypolicyviolation', event =>"
            " console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`))"
        )
        page.add_init_script(
            "window.shifts = 0; new PerformanceObserver(list => {"
            " for (const entry of list.getEntries()) window.shifts += entry.value"
            "}).observe({type: 'layout-shift', buffered: true})"
        )
        return page

    def _draws(self, address: str, *, within: float) -> bool:
        """Return whether *address* loads, and then shows operations, each *within* so many milliseconds."""
        with suppress(PlaywrightTimeoutError):
            self.page.goto(address, timeout=within)
            self.page.locator(".opblock").first.wait_for(timeout=within)
            return True
        return False

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning", "assert"):
            self.complaints.append(message.text)

    def _on_request(self, request: Request) -> None:
        self._unanswered.add(request)
        if not request.url.startswith((self._origin, "data:")):
            self.complaints.append(f"outside: {request.url}")

    def operation(self, path: str, method: str = "") -> Locator:
        """Return the operation at *path*, with its *method* if there are several."""
        block = f".opblock-{method}" if method else ".opblock"
        return self.page.locator(block).filter(has=self.page.locator(f'[data-path="{path}"]'))

    def open(self, path: str, method: str = "") -> Locator:
        """Open the operation at *path*, if it is not, and return it."""
        operation = self.operation(path, method)
        control = operation.locator(".opblock-summary-control")
        if control.get_attribute("aria-expanded") == "false":
            control.click()
        return operation

    def edit(self, path: str, body: object = None, *, method: str = "") -> Locator:
        """Return the operation at *path*, ready to execute with *body*, or with the filled-in one."""
        operation = self.open(path, method)
        start = operation.get_by_role("button", name="Try it out")
        if operation.get_by_role("button", name="Cancel").count() == 0:
            start.click()
        if body is not None:
            operation.get_by_label("Body").fill(json.dumps(body))
        return operation

    def try_out(self, path: str, body: object = None) -> tuple[str, dict[str, Any]]:
        """Send *body*, or the filled-in one, to *path*; return the displayed status and body."""
        operation = self.edit(path, body)
        if (clear := operation.get_by_role("button", name="Clear")).count():
            clear.click()
        operation.get_by_role("button", name="Execute").click()
        reply = operation.locator(".live-response")
        status = reply.locator(".status").inner_text()
        return status, json.loads(reply.locator(".highlight-code code").first.inner_text())

    def body(self, path: str) -> dict[str, Any]:
        """Return the filled-in body of the operation at *path*."""
        return dict(json.loads(self.edit(path).get_by_label("Body").input_value()))

    def authorize(self, token: str) -> None:
        """Set the credential."""
        self.page.locator(".auth-wrapper .authorize").click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_label("Token or JWT").fill(token)
        dialog.get_by_role("button", name="Authorize").click()
        expect(dialog).to_be_hidden()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run a browser for all tests of this module."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def service(shared_service: Service) -> Service:
    """Return the service that these tests share with others."""
    return shared_service


@pytest.fixture
def open_page(browser: Browser, service: Service) -> Iterator[Callable[..., Watched]]:
    """Return a function that opens the service's page."""
    yield partial(Watched, browser, service)
    for context in browser.contexts:
        context.close()


@pytest.mark.parametrize("context", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_api_can_be_tried_in_a_browser(
    open_page: Callable[..., Watched], service: Service, context: dict[str, Any]
) -> None:
    """The page can take a secret through its life without an error in the browser."""
    watched = open_page(**context)
    secret = "Zm9yIHRoZSBicm93c2VyIMO8"
    status, created = watched.try_out(CREATE, {"secret": secret})
    assert status == "200"
    assert service.fetch(created["secret_id"]).body == {"secret": secret}
    # The ID of the reply is filled in already.
    assert watched.try_out(FETCH) == ("200", {"secret": secret})
    assert watched.body(FETCH) == {"secret_id": created["secret_id"]}
    assert watched.try_out(UPDATE) == ("200", {**created, "version": 2})
    status, described = watched.try_out("/vault/secret/describe")
    assert (status, described["version"]) == ("200", 2)
    # The version of the reply is filled in, too.
    assert watched.try_out(UPDATE) == ("200", {**created, "version": 3})
    assert watched.try_out(DELETE) == ("200", {**created, "restorable_until": None})

    root = watched.page.locator("html")
    dark = context["color_scheme"] == "dark"
    assert ("dark-mode" in (root.get_attribute("class") or "")) == dark
    red = root.evaluate("element => Number(getComputedStyle(element).backgroundColor.match(/[0-9]+/)[0])")
    assert red < 64 if dark else red > 191
    assert watched.complaints == []


#: JavaScript that returns the operations wider than their place, by the path that they show.
TOO_WIDE = """
blocks => blocks.filter(block => block.scrollWidth > block.clientWidth)
                .map(block => block.querySelector('[data-path]').dataset.path)
"""


@pytest.mark.parametrize("context", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_every_operation_fits_the_screen(
    open_page: Callable[..., Watched], service: Service, context: dict[str, Any]
) -> None:
    """With everything open, no operation is wider than the screen, and every control has a name.

    No example has a placeholder of Swagger UI.
    """
    watched = open_page(**context)
    blocks = watched.page.locator(".opblock")
    expect(blocks).to_have_count(len(list(operations(service.get("/openapi.json").body))))
    # All together: after each click of its own, the page would be laid out again.
    for control in (".opblock-summary-control[aria-expanded=false]", ".try-out__btn"):
        clicked = blocks.locator(control)
        expect(clicked).to_have_count(blocks.count())
        clicked.evaluate_all("controls => controls.forEach(control => control.click())")
    expect(blocks.get_by_role("button", name="Cancel")).to_have_count(blocks.count())
    blocks.locator("details").evaluate_all("details => details.forEach(one => one.open = true)")
    assert blocks.evaluate_all(TOO_WIDE) == []
    shown = watched.page.locator(".swagger-ui").inner_text()
    assert '"wrap_info": null' in shown
    assert not re.search('additionalProp|"string"', shown)
    controls = watched.page.locator(".swagger-ui").aria_snapshot()
    assert re.findall(r"- (?:button|textbox|combobox|link)(?=:|$| \[)", controls) == []
    blocks.get_by_role("tab", name="Schema").evaluate_all("tabs => tabs.forEach(tab => tab.click())")
    assert blocks.evaluate_all(TOO_WIDE) == []
    assert watched.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert watched.complaints == []


@pytest.mark.parametrize("context", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_page_loads_without_layout_shifts(open_page: Callable[..., Watched], context: dict[str, Any]) -> None:
    """Nothing moves while the page loads."""
    watched = open_page(**context)
    assert watched.page.evaluate("new Promise(done => requestAnimationFrame(() => done(window.shifts)))") == 0


def test_create_and_fetch_are_on_the_first_screen(open_page: Callable[..., Watched]) -> None:
    """The page shows create and fetch without scrolling."""
    watched = open_page(viewport={"width": 1000, "height": 860}, device_scale_factor=1.6)
    for path in (CREATE, FETCH):
        expect(watched.page.locator(f'[data-path="{path}"]')).to_be_in_viewport(ratio=1)
    if picture := os.environ.get("DOCS_PICTURE"):
        watched.page.screenshot(path=picture)
    assert watched.complaints == []


def test_page_links_to_the_documents(open_page: Callable[..., Watched]) -> None:
    """The page links to the OpenAPI document, to the problems and to the license."""
    watched = open_page()
    links = watched.page.get_by_role("navigation", name="Documents").get_by_role("link")
    found = {link.inner_text(): link.get_attribute("href") for link in links.all()}
    assert found == {
        "OpenAPI document": "/openapi.json",
        "Problems": "/problems/",
        "License: Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    }


def test_an_operation_has_an_address(open_page: Callable[..., Watched]) -> None:
    """An open operation is in the page's address, and that address opens it."""
    watched = open_page()
    watched.open(FETCH)
    expect(watched.page).to_have_url(re.compile("#/Secrets/fetch_secret$"))
    again = open_page("#/Secrets/fetch_secret")
    expect(again.operation(FETCH).get_by_role("button", name="Try it out")).to_be_visible()


# --- Refusals


def of_each_kind(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield the first operation with each set of statuses."""
    kinds = set()
    for path, method, described in operations(document):
        kind = frozenset(described["responses"])
        if kind not in kinds:
            kinds.add(kind)
            yield path, method, described


@pytest.mark.parametrize(
    "chosen",
    [of_each_kind, pytest.param(operations, marks=pytest.mark.nightly)],
    ids=["one of each kind", "all"],
)
def test_refusals_are_folded(
    open_page: Callable[..., Watched],
    service: Service,
    chosen: Callable[[dict[str, Any]], Iterator[tuple[str, str, dict[str, Any]]]],
) -> None:
    """An open operation shows its success; the refusals are one list that opens, as do its items."""
    watched = open_page()
    document = service.get("/openapi.json").body
    for path, method, described in chosen(document):
        operation = watched.open(path, method)
        [success] = {"200", "204"} & described["responses"].keys() or {""}
        shown = operation.locator(".responses-table [data-code]")
        expect(shown).to_have_count(1 if success else 0)
        if success == "200":
            expect(shown.locator(".highlight-code")).to_be_visible()
        refusals = operation.locator(".refusals")
        others = sorted(set(described["responses"]) - {success})
        if not others:
            expect(refusals).to_have_count(0)
            continue
        expect(refusals.locator("> summary")).to_have_text(f"Refusals ({len(others)})")
        rows = refusals.locator("> details > summary")
        expect(rows.first).to_be_hidden()
        refusals.locator("> summary").click()
        assert [row.locator("b").inner_text() for row in rows.all()] == others
        expect(refusals.locator(".highlight-code")).to_have_count(0)
        # Every operation has this refusal, with an example.
        refusal = refusals.locator("> details").nth(others.index("431"))
        refusal.locator("> summary").click()
        expect(refusal.locator(".highlight-code")).to_contain_text('"detail"')
        refusal.locator("> details > summary").click()
        expect(refusal.locator("table.headers")).to_contain_text("X-Request-ID")
        operation.locator(".opblock-summary-control").click()
    assert watched.complaints == []


def test_page_can_be_read_without_a_mouse(open_page: Callable[..., Watched]) -> None:
    """The keyboard opens an operation, its refusals and one of them, in the order of the page."""
    watched = open_page()
    operation = watched.operation(FETCH)
    keyboard = watched.page.keyboard

    def go_to(target: Locator) -> None:
        for _ in range(60):
            if target.evaluate("element => element === document.activeElement"):
                return
            keyboard.press("Tab")
        raise AssertionError(f"not reached by Tab: {target}")

    go_to(operation.locator(".opblock-summary-control"))
    keyboard.press("Enter")
    refusals = operation.locator(".refusals")
    for target in (refusals.locator("> summary"), refusals.locator("> details > summary").nth(1)):
        go_to(target)
        keyboard.press("Enter")
    expect(refusals.locator("> details").nth(1).locator(".highlight-code")).to_be_visible()


def test_refusal_is_readable_in_a_browser(open_page: Callable[..., Watched]) -> None:
    """A refusal is displayed with its reason and is the only error in the browser."""
    watched = open_page()
    status, problem = watched.try_out(CREATE, {"secret": "not base64"})
    assert (status, problem["status"]) == ("400", 400)
    assert problem["detail"].startswith("invalid base64")
    headers = watched.operation(CREATE).locator(".live-response details", has_text="Headers")
    headers.locator("summary").click()
    expect(headers).to_contain_text("application/problem+json")
    assert watched.complaints == [
        "Failed to load resource: the server responded with a status of 400 (BAD REQUEST)"
    ]


# --- Credentials


def test_locks_say_what_is_needed(open_page: Callable[..., Watched], service: Service) -> None:
    """Each operation shows its scope, and whether anonymous callers have it."""
    watched = open_page()
    for path, method, described in operations(service.get("/openapi.json").body):
        scope = described.get("x-scope")
        is_open = {} in described.get("security", ())
        assert is_open == (scope in ANONYMOUS.scopes and not path.startswith("/v1/")), path
        expected = f"anonymous or {scope}" if is_open else scope or "any credential"
        locks = [expected] if described.get("security") else []
        expect(watched.operation(path, method).locator(".lock")).to_have_text(locks)
    for path, sentence in {
        FETCH: "Requires no credential: anonymous callers have the scope secret:fetch.",
        LIST: "Requires a credential with the scope secret:list. Authorize",
        "/vault/token/self": "Requires a credential. Authorize",
        "/health/live": "Requires no credential.",
    }.items():
        expect(watched.open(path).locator(".needs")).to_have_text(sentence)


def test_locks_know_when_a_credential_is_required(browser: Browser, guarded: tuple[Service, str]) -> None:
    """If the service requires credentials, no lock mentions anonymous callers."""
    watched = Watched(browser, guarded[0])
    operation = watched.open(FETCH)
    expect(operation.locator(".lock")).to_have_text("secret:fetch")
    expect(operation.locator(".needs")).to_have_text(
        "Requires a credential with the scope secret:fetch. Authorize"
    )


@pytest.mark.promise("network")
def test_a_browser_can_be_authorized(browser: Browser, guarded: tuple[Service, str]) -> None:
    """*Authorize* accepts a token: operations are refused before and answered after; nothing stores it."""
    service, token = guarded
    watched = Watched(browser, service)
    page = watched.page
    assert watched.try_out(FETCH, MISSING)[0] == "401"
    watched.authorize(token)
    status, created = watched.try_out(CREATE, {"secret": "YQ=="})
    assert status == "200"
    assert len(created["secret_id"]) == 36
    expect(watched.operation(CREATE).locator(".needs")).to_contain_text("Yours is sent.")
    # The command to copy has a placeholder.
    watched.operation(CREATE).locator("summary", has_text="curl").click()
    expect(watched.operation(CREATE).locator(".curl")).to_contain_text("Authorization: Bearer TOKEN")
    assert token not in page.content()
    assert page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])") == '[{},{},""]'
    watched.operation(CREATE).locator(".lock").click()
    page.get_by_role("dialog").get_by_role("button", name="Log out").click()
    assert watched.try_out(FETCH, MISSING)[0] == "401"
    assert [text for text in watched.complaints if "401" not in text] == []


@pytest.mark.promise("network")
def test_the_field_for_the_credential_is_masked(open_page: Callable[..., Watched]) -> None:
    """The field shows and remembers nothing, refuses what no token contains, and returns the focus."""
    watched = open_page()
    lock = watched.operation(LIST).locator(".lock")
    lock.click()
    field = watched.page.get_by_label("Token or JWT")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("type", "password")
    expect(field).to_have_attribute("autocomplete", "off")
    for wrong in ("", "two words", "smt_ü"):
        field.fill(wrong)
        watched.page.keyboard.press("Enter")
        expect(field).to_be_visible()
    watched.page.keyboard.press("Escape")
    expect(watched.page.get_by_role("dialog")).to_have_count(0)
    expect(lock).to_be_focused()
    # Tools print a token with and without the scheme.
    watched.authorize(" Bearer smt_0 ")
    with watched.page.expect_request(re.compile(LIST)) as sent:
        watched.try_out(LIST)
    assert sent.value.headers["authorization"] == "Bearer smt_0"


# --- Examples


def test_examples_succeed_as_they_are(open_page: Callable[..., Watched]) -> None:
    """Without a credential, the page offers examples that need none; after a create, all of them succeed."""
    watched = open_page()
    choices = {}
    for path in (CREATE, FETCH, "/vault/secret/describe", UPDATE):
        options = watched.edit(path).get_by_label("Examples").locator("option")
        options.first.wait_for(state="attached")
        choices[path] = options.all_inner_texts()
        # The first one last: the others of a create are for one fetch.
        for choice in reversed(choices[path]):
            watched.operation(path).get_by_label("Examples").select_option(choice)
            assert watched.try_out(path)[0] == "200", (path, choice)
    assert choices[CREATE] == ["A value", "Readable once, within a day"]
    assert choices[FETCH] == ["By ID"]
    assert watched.complaints == []


def test_a_credential_adds_examples(browser: Browser, guarded: tuple[Service, str]) -> None:
    """With a credential, the page offers the examples with a name, and they succeed."""
    service, token = guarded
    watched = Watched(browser, service)
    watched.edit(CREATE)
    watched.authorize(token)
    for path, choice in ((CREATE, "With a name and labels"), (FETCH, "By name"), (LIST, "All secrets")):
        watched.edit(path).get_by_label("Examples").select_option(choice)
        assert watched.try_out(path)[0] == "200"
    assert watched.complaints == []


def test_a_create_keeps_what_you_edited(open_page: Callable[..., Watched]) -> None:
    """A create fills in its ID, also in an open body; it replaces no field that you have edited."""
    watched = open_page()
    first = watched.try_out(CREATE)[1]
    watched.edit(FETCH)
    watched.edit(UPDATE, {**first, "secret": "bmV3", "expected_version": 1})
    watched.edit(DELETE, MISSING)
    watched.edit("/vault/secret/describe").get_by_label("Body").fill("no JSON")
    second = watched.try_out(CREATE)[1]
    assert first != second
    assert watched.body(FETCH) == second
    assert watched.body(UPDATE) == {**second, "secret": "bmV3", "expected_version": 1}
    assert watched.body(DELETE) == MISSING
    describe = watched.edit("/vault/secret/describe")
    assert describe.get_by_label("Body").input_value() == "no JSON"
    assert watched.complaints == []


# --- Plain text


def test_plain_text_becomes_base64(open_page: Callable[..., Watched], service: Service) -> None:
    """Typed plain text is in the body as base64 of UTF-8, and the field follows the body."""
    watched = open_page()
    operation = watched.edit(CREATE)
    field = operation.get_by_label("Plain text of secret")
    expect(field).to_have_value("my_secret_password")
    field.fill(TEXT)
    assert watched.body(CREATE) == {"secret": b64encode(TEXT.encode()).decode()}
    status, created = watched.try_out(CREATE)
    assert status == "200"
    assert b64decode(service.fetch(created["secret_id"]).body["secret"]).decode() == TEXT
    body = operation.get_by_label("Body")
    body.fill('{"secret": "YWJj", "max_reads": 1}')
    expect(field).to_have_value("abc")
    field.press("End")
    field.press_sequentially("de")
    assert watched.body(CREATE) == {"secret": "YWJjZGU=", "max_reads": 1}
    body.fill('{"secret": "/w=="}')
    expect(field).to_have_attribute("placeholder", "The value is not text in UTF-8.")
    body.fill('{"secret": ')
    expect(field).to_have_count(0)
    assert watched.complaints == []


@pytest.mark.promise("network")
def test_plain_text_of_a_fetched_value_is_shown_on_demand(
    open_page: Callable[..., Watched], service: Service
) -> None:
    """A fetched value is shown as plain text only while you ask for it, and only if it is text."""
    watched = open_page()
    operation = watched.edit(FETCH)
    show = operation.get_by_role("button", name="Show plain text")
    for plaintext, shown in ((TEXT.encode(), TEXT), (b"\xff", "The value is not text in UTF-8.")):
        assert watched.try_out(FETCH, {"secret_id": service.create(plaintext)})[0] == "200"
        expect(show).to_be_visible()
        assert shown not in operation.inner_text()
        show.press("Enter")
        expect(operation.locator(".live-response .plain-text")).to_contain_text(shown)
    operation.get_by_role("button", name="Hide plain text").click()
    assert shown not in operation.inner_text()
    # No other reply has a value.
    watched.try_out(CREATE)
    expect(watched.operation(CREATE).get_by_role("button", name="Show plain text")).to_have_count(0)
    assert watched.complaints == []
