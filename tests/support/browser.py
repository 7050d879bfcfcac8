"""A browser, for the tests of pages."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, expect, sync_playwright

from tests.support.system import needs

#: Milliseconds that a page may take, because a busy machine can give it little of a processor.
TIMEOUT = 120_000

expect.set_options(timeout=TIMEOUT)


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run a browser for tests that open pages of their own; playwright's event loop ends with it."""
    chromium = needs("chromium", "chromium-browser", "google-chrome")
    # Partial raster: parts that are painted later differ from a whole picture by a bit.
    quiet = ("background-networking", "component-update", "sync", "gpu", "quic", "partial-raster")
    arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in quiet)]
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(
            executable_path=chromium,
            args=arguments,
            # Playwright's own: browsers of people keep pages, with all that these show, for the way back.
            ignore_default_args=["--disable-back-forward-cache"],
            timeout=TIMEOUT,
        ) as browser,
    ):
        yield browser
