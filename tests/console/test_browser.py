"""The console in a browser: from the sign-in to a value, and what is left of it."""

import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.conftest import running_app
from tests.console.test_pages import create
from tests.support.access import make_token
from tests.support.browser import TIMEOUT, running_browser
from tests.support.databases import new_database
from tests.support.service import Service
from vault.cli.dev.mongod import Mongod

pytestmark = pytest.mark.process

VALUE = "hunter2-planted <i>\nsecond line"
#: The beginning of the value, which is in nothing that is kept.
MARK = "hunter2-planted"
NAME = "billing/eu/db-password"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run a browser for all tests of this module."""
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def console(
    mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, str]]:
    """Run a service with a secret, and return it with a token."""
    with new_database(mongod) as uri:
        settings = {"MASTER_KEY": master_key, "MONGO_URI": uri, "CONSOLE_ENABLED": "true"}
        with running_app(settings) as app:
            token = make_token(app, "alice", role="admin")
            create(app, NAME, VALUE.encode(), labels={"team": "rocket"})
            create(app, "other")
        with Service(settings, folder=tmp_path_factory.mktemp("console")) as service:
            service.wait_until_started()
            yield service, token


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
        """Return what the page and the browser keep: elements, addresses, cookies and storage."""
        stores = self.page.evaluate(
            "JSON.stringify([localStorage, sessionStorage, history.state, document.cookie])"
        )
        storage = json.dumps(self.context.storage_state())
        return "\n".join((self.page.content(), self.page.url, *self.loaded, stores, storage))

    def sign_in(self, service: Service, token: str) -> None:
        """Open the console and sign in."""
        self.page.goto(f"{service.url}/console/")
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_label("Token").press("Enter")
        expect(self.page.get_by_role("heading", name="Secrets")).to_be_visible()


def test_a_value_is_found_by_keyboard_and_hidden_again(
    browser: Browser, console: tuple[Service, str]
) -> None:
    """From sign-in to reveal by keys alone; after 30 s, in another tab or on another page, it is gone."""
    service, token = console
    with browser.new_context(
        viewport={"width": 320, "height": 640}, permissions=["clipboard-read", "clipboard-write"]
    ) as context:
        screen = Screen(context)
        page = screen.page
        page.clock.install(time=0)
        page.clock.pause_at(1_000)
        screen.sign_in(service, token)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        page.keyboard.press("/")
        page.keyboard.type("ROCKET")
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name=NAME)).to_be_visible()
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name=NAME)).to_be_visible()
        value = page.get_by_label("Value", exact=True)
        reveal = page.get_by_role("button", name="Reveal")
        page.keyboard.press("j")
        expect(reveal).to_be_focused()
        page.keyboard.press("Enter")
        expect(value).to_have_text(VALUE)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        page.clock.run_for(29_000)
        expect(value).to_have_text(VALUE)
        page.clock.run_for(1_500)
        expect(page.get_by_text("Hidden.")).to_be_visible()
        assert MARK not in screen.kept()

        reveal.click()
        expect(value).to_have_text(VALUE)
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_text("Copied.")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()") == VALUE
        page.clock.run_for(30_500)
        page.wait_for_function("async () => (await navigator.clipboard.readText()) === ''")

        reveal.click()
        page.evaluate("void (navigator.clipboard.readText = () => Promise.reject(new Error('not allowed')))")
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_text("Copied.")).to_be_visible()
        page.clock.run_for(30_500)
        expect(page.get_by_text("empty it yourself")).to_be_visible()

        reveal.click()
        expect(value).to_have_text(VALUE)
        page.evaluate(
            "Object.defineProperty(document, 'hidden', { value: true, configurable: true });"
            "document.dispatchEvent(new Event('visibilitychange')); delete document.hidden"
        )
        expect(value).to_have_text("")

        reveal.click()
        expect(value).to_have_text(VALUE)
        page.get_by_role("link", name="All", exact=True).click()
        expect(page.get_by_role("heading", name="Secrets")).to_be_visible()
        page.go_back()
        expect(page.get_by_role("heading", name=NAME)).to_be_visible()
        assert MARK not in screen.kept()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        assert [cookie["name"] for cookie in context.cookies()] == []
        page.go_back()
        assert MARK not in screen.kept()
        assert screen.loaded
        assert screen.complaints == []
    log = service.log.read_text()
    for text in (MARK, token, "ROCKET", NAME):
        assert text not in log


def test_without_a_script_everything_can_be_read(browser: Browser, console: tuple[Service, str]) -> None:
    """Without JavaScript, people sign in, search and read all except values."""
    service, token = console
    with browser.new_context(java_script_enabled=False) as context:
        screen = Screen(context)
        page = screen.page
        screen.sign_in(service, token)
        page.get_by_label("Search").fill("db-pass")
        page.get_by_role("button", name="Search").click()
        page.get_by_role("link", name=NAME).click()
        expect(page.get_by_text("the console needs JavaScript")).to_be_visible()
        expect(page.get_by_role("cell", name="current")).to_be_visible()
        expect(page.get_by_role("button", name="Reveal")).to_have_count(0)
        page.get_by_role("link", name="Who knows it").click()
        expect(page.get_by_role("heading", name="Who knows")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        assert screen.complaints == []


def test_a_link_hands_a_value_over(browser: Browser, console: tuple[Service, str]) -> None:
    """One person shares, another opens with the passphrase; after 30 s the value is nowhere."""
    service, token = console
    with browser.new_context() as mine, browser.new_context(viewport={"width": 320, "height": 640}) as theirs:
        sender, receiver = Screen(mine), Screen(theirs)
        sender.sign_in(service, token)
        sender.page.goto(f"{service.url}/console/secret?name={NAME}")
        sender.page.get_by_label("Passphrase").fill("correct horse")
        sender.page.get_by_role("button", name="Share").click()
        link = sender.page.get_by_text(f"{service.url}/console/share#smw_").text_content()
        assert link
        page = receiver.page
        page.clock.install(time=0)
        page.clock.pause_at(1_000)
        page.goto(link)
        expect(page.get_by_text("Shared by alice, until")).to_be_visible()
        page.get_by_label("Passphrase").fill("wrong")
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_text("The passphrase is wrong.")).to_be_visible()
        page.get_by_label("Passphrase").fill("correct horse")
        page.keyboard.press("Enter")
        value = page.get_by_label("Value", exact=True)
        expect(value).to_have_text(VALUE)
        assert page.url == f"{service.url}/console/share"
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        page.clock.run_for(30_500)
        expect(page.get_by_text("Hidden.")).to_be_visible()
        assert MARK not in receiver.kept()
        page.goto("about:blank")
        page.goto(link)
        expect(page.get_by_text("was used before")).to_be_visible()
        expect(page.get_by_role("button", name="Open")).to_be_hidden()
        assert [text for text in receiver.complaints if "40" not in text] == sender.complaints == []
    log = service.log.read_text()
    assert link.partition("#")[2] not in log
    assert "correct horse" not in log


def test_a_link_takes_a_value_in(browser: Browser, console: tuple[Service, str]) -> None:
    """One person asks, another sends a text as it is, and goes; neither page shows markup of names."""
    service, token = console
    name = "billing/<img src=x onerror=alert(1)>"
    with browser.new_context() as mine, browser.new_context() as theirs:
        sender, receiver = Screen(mine), Screen(theirs)
        sender.sign_in(service, token)
        sender.page.get_by_text("Request a value").click()
        sender.page.get_by_label("Name", exact=True).fill(name)
        sender.page.get_by_role("button", name="Request").click()
        link = sender.page.get_by_text(f"{service.url}/console/request#smr_").text_content()
        assert link
        page = receiver.page
        page.goto(link)
        expect(page.get_by_text(f"alice asks for a value for {name}, until")).to_be_visible()
        page.get_by_label("Value", exact=True).fill(VALUE)
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_text("Stored.")).to_be_visible()
        expect(page.get_by_role("button", name="Send")).to_be_hidden()
        assert MARK not in receiver.kept()
        page.goto(f"{service.url}/console/request")
        expect(page.get_by_text("The link is not complete.")).to_be_visible()
        sender.page.goto(f"{service.url}/console/secret?name={quote(name)}")
        sender.page.get_by_role("button", name="Reveal").click()
        expect(sender.page.get_by_label("Value", exact=True)).to_have_text(VALUE)
        assert receiver.complaints == sender.complaints == []
