"""A source in this process, which fails on demand."""

from collections.abc import Callable

from vault.features.rotation.sources.source import Confirm, unconditionally


class Fake:
    """The passwords of users, and a hook that is called before and after each operation."""

    def __init__(self) -> None:
        self.passwords: dict[str, str] = {}
        self.calls: list[tuple[str, str]] = []
        self.hook: Callable[[str], None] = lambda _: None

    def set_password(self, user: str, password: str, confirm: Confirm = unconditionally) -> None:
        """As `Source`."""
        self._change("set", user, password, confirm)

    def close(self, user: str, password: str, confirm: Confirm = unconditionally) -> None:
        """As `Source`."""
        self._change("close", user, password, confirm)

    def login(self, user: str, password: str) -> bool:
        """As `Source`."""
        self.hook("login")
        self.calls.append(("login", user))
        return self.passwords.get(user) == password

    def _change(self, name: str, user: str, password: str, confirm: Confirm) -> None:
        self.hook(name)
        confirm()
        self.calls.append((name, user))
        self.passwords[user] = password
        self.hook(f"{name} done")
