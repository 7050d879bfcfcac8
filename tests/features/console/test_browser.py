"""The console in a browser: from the sign-in to a value, and what is left of it."""

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import running_app
from tests.console.screens import MARK, NAME, SCREENS, VALUE, Screen
from tests.features.console.provider import Provider, trust
from tests.support.access import make_token, services
from tests.support.browser import running_browser
from tests.support.console import create
from tests.support.databases import new_database
from tests.support.features import requires, tables
from tests.support.service import Service
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.secrets.requests import Reference

pytestmark = [pytest.mark.process, pytest.mark.slow]

#: The version before `VALUE`.
OTHER = b"hunter2-planted, and another line\nof another width"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run a browser for all tests of this module."""
    with running_browser() as browser:
        yield browser


#: A service, and a token.
Console = tuple[Service, str]


@pytest.fixture(scope="module")
def provider() -> Provider:
    """Return a provider that does not run yet."""
    return Provider()


@pytest.fixture(scope="module")
def console(
    mongod: Mongod, master_key: str, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Console]:
    """Run a service with a secret, and return it with a token."""
    with new_database(mongod) as uri:
        settings = {"MASTER_KEY": master_key, "MONGO_URI": uri, "CONSOLE_ENABLED": "true"}
        settings |= {"CONSOLE_REASON_REQUIRED": "true", "WEB_CONCURRENCY": "1", **provider.environment}
        for more in tables("CONSOLE_SETTINGS"):
            settings |= more
        with running_app(settings) as app:
            trust(app, provider)
            token = make_token(app, "alice", role="admin")
            create(app, NAME, OTHER, labels={"team": "rocket"})
            attempt = Attempt(action=Action.UPDATE, principal=OPERATOR)
            services(app).changes.update(
                Reference(name=NAME), VALUE.encode(), expected_version=1, attempt=attempt
            )
            create(app, "other")
            for fill in tables("fill_console"):
                fill(app, MARK)
        folder = tmp_path_factory.mktemp("console")
        with Service(settings, patient=True, folder=folder) as service:
            service.wait_until_started()
            yield service, token


def test_a_value_is_found_by_keyboard_and_hidden_again(browser: Browser, console: Console) -> None:
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
        search = page.get_by_label("Search")
        wait_until(
            lambda: page.keyboard.press("/") or search.evaluate("(field) => field === document.activeElement")
        )
        page.keyboard.type("ROCKET")
        page.keyboard.press("Enter")
        screen.shows("Search for")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        screen.shows(NAME)
        value = page.get_by_label("Value", exact=True)
        reveal = page.get_by_role("button", name="Reveal").first
        page.keyboard.press("j")
        expect(reveal).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.get_by_label("Reason")).to_be_focused()
        page.keyboard.type("INC-7")
        # The table, which can be scrolled by keys, and its first button.
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        expect(reveal).to_be_focused()
        page.keyboard.press("Enter")
        expect(value).to_have_text(VALUE)
        expect(page.locator("#copy")).to_be_focused()
        assert screen.width() <= 320
        page.clock.run_for(29_000)
        expect(value).to_have_text(VALUE)
        page.clock.run_for(1_500)
        expect(page.get_by_text("Hidden.")).to_be_visible()
        expect(reveal).to_be_focused()
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
        page.get_by_label("Folders").get_by_role("link", name="Secrets").click()
        screen.shows("Secrets")
        page.go_back(wait_until="commit")
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


def test_without_a_script_everything_can_be_read(browser: Browser, console: Console) -> None:
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
        expect(page.get_by_label("Reason")).to_be_hidden()
        expect(page.get_by_role("button", name="Reveal")).to_have_count(0)
        page.get_by_role("link", name="Who knows it").click()
        expect(page.get_by_role("heading", name="Who knows")).to_be_visible()
        for address in SCREENS:
            page.goto(f"{service.url}/console/{address}")
            expect(page.get_by_role("heading").first).to_be_visible()
            expect(page.get_by_role("button", name=re.compile("Reveal|Open|Send|Copy"))).to_have_count(0)
        page.goto(f"{service.url}/console/")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        # One of the screens is a refusal.
        assert [text for text in screen.complaints if "404" not in text] == []


def test_a_link_hands_a_value_over(browser: Browser, console: Console) -> None:
    """One person shares, another opens with the passphrase; after 30 s the value is nowhere."""
    service, token = console
    with browser.new_context() as mine, browser.new_context(viewport={"width": 320, "height": 640}) as theirs:
        sender, receiver = Screen(mine), Screen(theirs)
        sender.sign_in(service, token)
        sender.page.goto(f"{service.url}/console/secret?name={NAME}")
        sender.page.get_by_label("Passphrase").fill("correct horse")
        sender.page.get_by_label("Why").fill("INC-9")
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
        expect(page.get_by_label("Passphrase")).to_be_focused()
        page.get_by_label("Passphrase").fill("correct horse")
        page.keyboard.press("Enter")
        value = page.get_by_label("Value", exact=True)
        expect(value).to_have_text(VALUE)
        assert page.url == f"{service.url}/console/share"
        assert receiver.width() <= 320
        page.clock.run_for(30_500)
        expect(page.get_by_text("Hidden.")).to_be_visible()
        assert MARK not in receiver.kept()
        page.reload()
        expect(page.get_by_text("The link was used.")).to_be_visible()
        page.goto("about:blank")
        page.goto(link)
        expect(page.get_by_text("was used before")).to_be_visible()
        expect(page.get_by_role("button", name="Open")).to_be_hidden()
        assert [text for text in receiver.complaints if "40" not in text] == sender.complaints == []
    log = service.log.read_text()
    assert link.partition("#")[2] not in log
    assert "correct horse" not in log


def test_a_link_takes_a_value_in(browser: Browser, console: Console) -> None:
    """One person asks, another sends a text as it is, and goes; names are neither markup nor its text."""
    service, token = console
    name = "billing/<img src=x onerror=alert(1)>, until 2030. Call 555 first \u05d0"
    with browser.new_context() as mine, browser.new_context() as theirs:
        sender, receiver = Screen(mine), Screen(theirs)
        sender.sign_in(service, token)
        sender.page.get_by_text("Request a value").click()
        sender.page.get_by_label("Name", exact=True).fill(name)
        sender.page.get_by_role("button", name="Request").click()
        expect(sender.page.get_by_text(f"One person can store {name}, once, until")).to_be_visible()
        expect(sender.page.get_by_role("button", name="Copy")).to_be_focused()
        link = sender.page.get_by_text(f"{service.url}/console/request#smr_").text_content()
        assert link
        page = receiver.page
        page.goto(link)
        expect(page.get_by_text(f"alice asks for a value for {name}, until")).to_be_visible()
        expect(page.locator("#about bdi.label")).to_have_text(["alice", name])
        expect(page.get_by_text("up to about 65,000 characters")).to_be_visible()
        page.get_by_label("Value", exact=True).fill(VALUE)
        page.get_by_role("button", name="Send").click()
        expect(page.get_by_text("Stored.")).to_be_visible()
        expect(page.get_by_role("button", name="Send")).to_be_hidden()
        assert MARK not in receiver.kept()
        page.reload()
        expect(page.get_by_text("The link was used.")).to_be_visible()
        page.goto("about:blank")
        page.goto(f"{service.url}/console/request")
        expect(page.get_by_text("The link is not complete.")).to_be_visible()
        sender.page.goto(f"{service.url}/console/secret?name={quote(name)}")
        sender.page.get_by_label("Reason").fill("INC-9")
        sender.page.get_by_role("button", name="Reveal").click()
        expect(sender.page.get_by_label("Value", exact=True)).to_have_text(VALUE)
        assert receiver.complaints == sender.complaints == []


def test_nothing_serious_hinders_anyone(browser: Browser, console: Console) -> None:
    """Each screen passes axe-core in light and dark, fits 320 pixels, and has fewer than 60 kB."""
    service, token = console
    with browser.new_context(viewport={"width": 320, "height": 640}) as context:
        screen = Screen(context)
        found = {}
        for address in ("sign-in", *SCREENS):
            if address == SCREENS[0]:
                screen.sign_in(service, token)
            reply = screen.page.goto(f"{service.url}/console/{address}")
            assert reply
            assert len(reply.body()) < 60_000
            found[address, "width"] = [width] if (width := screen.width()) > 320 else []
            for scheme in ("light", "dark"):
                screen.page.emulate_media(color_scheme=scheme)
                found[address, scheme] = screen.flaws()
    assert {key: flaws for key, flaws in found.items() if flaws} == {}


@pytest.mark.promise("rotation")
def test_a_planted_value_is_kept_nowhere(browser: Browser, console: Console) -> None:
    """After its 30 seconds, a value is in no screen, address, store, history, log or picture.

    Each reveal is one entry.
    """
    service, token = console
    # So high that nothing scrolls.
    with browser.new_context(viewport={"width": 1280, "height": 2400}) as context:
        screen = Screen(context)
        page = screen.page
        page.clock.install(time=0)
        page.clock.pause_at(1_000)
        screen.sign_in(service, token)
        page.get_by_role("link", name="billing/").click()
        page.get_by_role("link", name="eu/").click()
        page.get_by_role("link", name="db-password").click()
        page.get_by_label("Reason").fill("INC-8")
        pictures = []
        for button, value in zip(
            page.get_by_role("button", name="Reveal").all(), (VALUE, OTHER.decode()), strict=True
        ):
            button.click()
            expect(page.get_by_label("Value", exact=True)).to_have_text(value)
            assert MARK in screen.kept()
            page.clock.run_for(30_500)
            expect(page.get_by_text("Hidden.")).to_be_visible()
            page.get_by_label("Reason").focus()
            page.mouse.move(0, 0)
            assert MARK not in screen.kept()
            pictures.append(page.screenshot(caret="hide", animations="disabled"))
        # Of values of other lengths, the pictures are the same.
        assert pictures[0] == pictures[1]
        page.get_by_role("button", name="Reveal").first.click()
        expect(page.get_by_label("Value", exact=True)).to_have_text(VALUE)
        for address in SCREENS:
            page.goto(f"{service.url}/console/{address}")
            assert MARK not in screen.kept()
        for address in reversed(SCREENS[:-1]):
            # From the cache for the way back, a page does not load.
            page.go_back(wait_until="commit")
            page.wait_for_url(f"{service.url}/console/{address}", wait_until="commit")
            assert MARK not in screen.kept()
        assert reveals(service, token) == 3
    assert MARK not in service.log.read_text()


def reveals(service: Service, token: str) -> int:
    """Return the number of reads for the reason of one test; all have one."""
    headers = {"Authorization": f"Bearer {token}"}
    asked = {"action": "fetch", "principal": "alice", "limit": 1000}
    reply = service.post("/vault/audit/query", asked, **headers)
    assert reply.status == 200, reply
    reasons = [entry["details"]["reason"] for entry in reply.body["entries"]]
    return reasons.count("INC-8")


@requires("jwt")
def test_people_sign_in_at_their_provider(browser: Browser, console: Console, provider: Provider) -> None:
    """From the console to the provider, which is another site, and back; then one of two roles is chosen."""
    service, _ = console
    with provider.running(service.url), browser.new_context() as context:
        # A font of the provider's page, from elsewhere.
        context.route(re.compile("googleapis"), lambda route: route.abort())
        screen = Screen(context)
        page = screen.page
        page.goto(f"{service.url}/console/")
        page.get_by_role("link", name="Sign in with OpenID Connect").click()
        page.locator("[name=login]").fill("both")
        page.locator("[name=password]").fill("any")
        page.locator("[name=password]").press("Enter")
        expect(page.get_by_role("heading", name="Choose a role")).to_be_visible()
        assert screen.flaws() == []
        page.get_by_role("button", name="admins").click()
        expect(page.get_by_role("heading", name="Status")).to_be_visible()
        assert page.url == f"{service.url}/console/status"
        expect(page.get_by_text("idp/jwt:both")).to_be_visible()
        cookies = {cookie["name"]: cookie for cookie in context.cookies(service.url)}
        assert set(cookies) == {"session"}
        assert (cookies["session"]["sameSite"], cookies["session"]["httpOnly"]) == ("Strict", True)
        assert not any("code=" in text for text in (page.url, screen.page.content()))
    log = service.log.read_text()
    assert "code=" not in log


def test_people_store_and_compare_versions(browser: Browser, console: Console) -> None:
    """A value is made in the browser; a conflict is shown; a comparison is two reveals on record."""
    service, token = console
    with browser.new_context() as context:
        screen, other = Screen(context), Screen(context)
        page = screen.page
        screen.sign_in(service, token)
        other.page.goto(f"{service.url}/console/audit?action=fetch&name=made/here")
        other.page.get_by_role("button", name="Follow").click()
        expect(other.page.get_by_text("New entries appear")).to_be_visible()

        page.get_by_role("link", name="New secret").click()
        page.get_by_label("Reads until it is gone").fill("3")
        page.get_by_label("Name", exact=True).fill("made//here")
        page.get_by_role("button", name="Generate").click()
        page.get_by_role("button", name="Store").click()
        expect(page.get_by_text("Name: Must not have a part that is empty")).to_be_visible()
        page.get_by_label("Name", exact=True).fill("made/here")
        made = page.get_by_label("Value", exact=True).input_value()
        assert re.fullmatch("[A-Za-z0-9_-]{32}", made)
        page.get_by_role("button", name="Store").click()
        screen.shows("made/here")

        stale = context.new_page()
        stale.goto(page.url)
        for each, stored in ((page, True), (stale, False)):
            each.get_by_label("New value").fill(f"{made}\nsecond line")
            each.get_by_role("button", name="Store").click()
            said = (
                each.get_by_text("Stored as version 2.")
                if stored
                else each.get_by_text("Someone has changed")
            )
            expect(said).to_be_visible()
        assert stale.get_by_label("New value").input_value()

        page.get_by_label("Reason").fill("INC-8")
        page.get_by_role("button", name="Compare", exact=True).click()
        value = page.get_by_label("Value", exact=True)
        expect(value).to_have_text(f"  {made}\n+ second line\n")
        expect(page.get_by_text("1 of 3.")).to_be_visible()
        expect(page.get_by_role("button", name="Copy").first).to_be_hidden()
        page.get_by_role("button", name="Hide").click()
        expect(value).to_have_text("")
        assert made not in screen.kept()
        # Following stops while the page is hidden; this browser shows all of them.
        expect(other.page.get_by_role("cell", name="INC-8")).to_have_count(2)
        assert [text for text in screen.complaints if "422" not in text] == other.complaints == []
