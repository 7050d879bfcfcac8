"""A real provider of OpenID Connect, npm's `oidc-provider`, and a person in front of it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import requests
from flask import Flask

from tests.support.access_roles import make_issuer, make_role
from tests.support.system import missing, needs
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import free_port
from vault.core.principal import ALL_RIGHTS, Scope

#: Where npm's packages are.
_FOLDER = Path(__file__).parents[2] / "console"
#: The client's secret has characters that RFC 6749 encodes.
SECRET = "a-secret:+%"


class Provider:
    """The provider, whose name is of another site than 127.0.0.1."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://localhost:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a service whose console offers this provider."""
        return {"OIDC_ISSUER": self.url, "OIDC_CLIENT_ID": "console", "OIDC_CLIENT_SECRET": SECRET}

    @contextmanager
    def running(self, *origins: str) -> Iterator[None]:
        """Run it for consoles at these *origins*."""
        if not (_FOLDER / "node_modules/oidc-provider").is_dir():
            raise missing("needs oidc-provider: scripts/install_clients.sh")
        callbacks = [f"{origin}/console/oidc/callback" for origin in origins]
        command = [needs("node", package="nodejs"), str(_FOLDER / "provider.mjs"), str(self.port), *callbacks]
        with Path(os.devnull).open("wb") as nothing:
            self._process = subprocess.Popen(command, stdout=nothing, stderr=nothing)
        try:
            wait_until(self._answers)
            yield
        finally:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/.well-known/openid-configuration", timeout=60).ok
        except requests.ConnectionError:
            return False

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Stop it, so that it accepts connections and answers none."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def set_clock(self, seconds: int) -> None:
        """Set its clock *seconds* ahead."""
        requests.get(f"{self.url}/clock?{seconds}", timeout=60).raise_for_status()

    def answer(self, address: str, login: str) -> str:
        """Return the address to which it leads after *login* has signed in at *address*."""
        with requests.Session() as browser:
            page = browser.get(address, timeout=60, allow_redirects=False)
            while "console/oidc/callback" not in (target := page.headers.get("Location", "")):
                if target:
                    page = browser.get(
                        requests.compat.urljoin(self.url, target), timeout=60, allow_redirects=False
                    )
                else:
                    assert page.ok, page.text
                    form = {"prompt": "login", "login": login, "password": "any"}
                    page = browser.post(page.url, form, timeout=60, allow_redirects=False)
            return target


def trust(app: Flask, provider: Provider) -> None:
    """Create the issuer, and a role for each group."""
    make_issuer(app, "idp", iss=provider.url, audience="console", keys=f"{provider.url}/jwks")
    make_role(app, "readers", "idp", claims={"groups": "readers"}, scopes=(Scope.SECRET_LIST,))
    make_role(app, "admins", "idp", claims={"groups": "admins"}, scopes=tuple(ALL_RIGHTS))


def changed(address: str, **arguments: str) -> str:
    """Return *address* with these *arguments*."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(query=urlencode(dict(parse_qsl(parts.query)) | arguments)))


def argument(address: str, name: str) -> str:
    """Return an argument of *address*."""
    return dict(parse_qsl(urlsplit(address).query))[name]
