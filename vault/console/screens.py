"""The screens of the console, in the order of their links, each with the scope that it needs."""

from typing import NamedTuple

from flask import url_for

from vault.core.principal import Principal, Scope


class Screen(NamedTuple):
    """A screen that each page leads to."""

    scope: Scope
    endpoint: str
    label: str
    show: str | None = None
    #: True if it is about all namespaces.
    is_of_all: bool = False

    @property
    def address(self) -> str:
        """Its path."""
        return url_for(f"console.{self.endpoint}", show=self.show)


SCREENS = (
    Screen(Scope.SECRET_LIST, "console_secrets", "Secrets"),
    Screen(Scope.SECRET_LIST, "console_secrets", "Expiring", "expiring"),
    Screen(Scope.AUDIT_READ, "console_activity", "Activity"),
    Screen(Scope.AUDIT_READ, "console_audit", "Audit"),
    Screen(Scope.TOKEN_MANAGE, "console_tokens", "Tokens"),
    Screen(Scope.TOKEN_MANAGE, "console_roles", "Roles"),
    Screen(Scope.WEBHOOK_MANAGE, "console_webhooks", "Webhooks"),
    Screen(Scope.ROTATION_MANAGE, "console_rotations", "Rotation"),
    Screen(Scope.AUDIT_READ, "console_keys", "Keys", is_of_all=True),
)


def screens_of(principal: Principal) -> list[Screen]:
    """Return the screens that *principal* may see."""
    return [
        screen
        for screen in SCREENS
        if screen.scope in principal.scopes and (principal.sees_all_entries or not screen.is_of_all)
    ]


def home_of(principal: Principal) -> str:
    """Return the path of the first screen that *principal* may see; without any, of the list of secrets."""
    return next(iter(screens_of(principal)), SCREENS[0]).address
