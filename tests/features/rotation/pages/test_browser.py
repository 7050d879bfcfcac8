"""A rotation plan of the console in a browser."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.conftest import running_app
from tests.console.screens import MARK, Screen
from tests.features.rotation.tables import CONSOLE_SETTINGS, ROTATED, fill_console
from tests.support.access import make_token
from tests.support.browser import running_browser
from tests.support.databases import new_database
from tests.support.service import Service
from vault.cli.dev.mongod import Mongod

pytestmark = [pytest.mark.process, pytest.mark.slow]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run a browser."""
    with running_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def console(
    mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, str]]:
    """Run a service with a plan, and return it with a token."""
    with new_database(mongod) as uri:
        settings = {"MASTER_KEY": master_key, "MONGO_URI": uri, "CONSOLE_ENABLED": "true", **CONSOLE_SETTINGS}
        settings |= {"AUTH_ENABLED": "true", "WEB_CONCURRENCY": "1"}
        with running_app(settings) as app:
            token = make_token(app, "alice", role="admin")
            fill_console(app, MARK)
        with Service(settings, patient=True, folder=tmp_path_factory.mktemp("console")) as service:
            service.wait_until_started()
            yield service, token


def test_a_plan_is_run_by_keyboard(browser: Browser, console: tuple[Service, str]) -> None:
    """At 320 pixels, a person finds a plan, runs it and sees what it waits for, without a value in a page."""
    service, token = console
    with browser.new_context(viewport={"width": 320, "height": 640}) as context:
        screen = Screen(context)
        page = screen.page
        screen.sign_in(service, token)
        page.get_by_role("link", name="Rotation").click()
        screen.shows("Rotation")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        screen.shows(f"Rotation of {ROTATED}")
        expect(page.get_by_text("No runs.")).to_be_visible()
        page.get_by_role("button", name="Run now").press("Enter")
        expect(page.get_by_role("cell", name="rotation_done")).to_be_visible()
        expect(page.get_by_text("the former password of shop_a")).to_be_visible()
        expect(page.get_by_role("button", name="Run now")).to_have_count(0)
        assert screen.width() <= 320
        assert MARK not in screen.kept()
        page.get_by_role("link", name=ROTATED).first.click()
        screen.shows(ROTATED)
        page.get_by_text("Edit labels").click()
        page.get_by_label("Labels", exact=True).fill("team=shop\nenv=prod")
        page.get_by_role("button", name="Store labels").click()
        expect(page.get_by_role("link", name="env=prod")).to_be_visible()
        assert MARK not in screen.kept()
        assert screen.complaints == []
