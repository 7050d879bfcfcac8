"""Screens and panels: the parts of each page that the features of the application bring."""

from collections.abc import Iterator

from flask import current_app, url_for

from vault.common.feature import Feature, Panel, Screen
from vault.core.principal import Principal

#: Key of the application's extensions: the features that bring something to its console, which is the first.
FEATURES = "secret-manager-console"


def _features() -> tuple[Feature, ...]:
    found: tuple[Feature, ...] = current_app.extensions[FEATURES]
    return found


def screens_of(principal: Principal) -> list[Screen]:
    """Return the screens that *principal* may see, in the order of their links."""
    return [screen for screen in _screens() if _is_for(principal, screen)]


def _screens() -> Iterator[Screen]:
    for feature in _features():
        yield from feature.screens


def _is_for(principal: Principal, screen: Screen) -> bool:
    return screen.scope in principal.scopes and (principal.sees_all_entries or not screen.is_of_all)


def home_of(principal: Principal) -> str:
    """Return the path of the first screen that *principal* may see; without any, of the list of secrets."""
    elsewhere = next(screen for screen in _screens() if not screen.is_of_all)
    home = next(iter(screens_of(principal)), elsewhere)
    return url_for(home.endpoint, show=home.show)


def panels_of(page: str) -> list[Panel]:
    """Return the panels of *page*, in their order on it."""
    return [panel for feature in _features() for panel in feature.panels if panel.page == page]
