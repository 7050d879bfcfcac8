"""A person with a browser that runs no scripts."""

import re
from html import unescape
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

#: Headers that browsers send with a form of a page with the policy `no-referrer`.
OWN = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}


class Person:
    """A person at *origin* with a *token*, whose browser keeps cookies."""

    def __init__(self, app: Flask, token: str = "", *, origin: str = "http://localhost") -> None:
        self.app = app
        self.client = app.test_client()
        self.token = token
        self.origin = origin

    def get(self, path: str = "", **arguments: str) -> TestResponse:
        """Return the page at *path*."""
        return self.client.get(f"/console/{path}", query_string=arguments, base_url=self.origin)

    def post(self, path: str, *, headers: dict[str, str] | None = None, **fields: str) -> TestResponse:
        """Return the answer to a form with *fields*, sent by a page of the console."""
        return self.client.post(
            f"/console/{path}",
            data=fields,
            headers=OWN if headers is None else headers,
            base_url=self.origin,
        )

    def sign_in(self, **options: Any) -> TestResponse:
        """Return the answer to the sign-in with the token."""
        return self.post("sign-in", token=self.token, **options)

    @property
    def form_token(self) -> str:
        """The form token in a page of this session."""
        # Whatever the person may do, each page has the button that signs out.
        found = re.search(r'name="form_token" value="([0-9a-f]{64})"', self.get().text)
        assert found
        return found[1]

    def submit(self, path: str, **fields: str) -> TestResponse:
        """Return the answer to a form of a page of this session."""
        return self.post(path, form_token=self.form_token, **fields)

    def reveal(self, secret_id: str, *, headers: dict[str, str] | None = None, **fields: Any) -> TestResponse:
        """Return the answer to a reveal, as the script asks for it."""
        body = {"secret_id": secret_id, "form_token": self.form_token, **fields}
        origin = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin"}
        return self.client.post(
            "/console/reveal",
            json=body,
            headers=origin if headers is None else headers,
            base_url=self.origin,
        )

    def send(self, path: str, **fields: Any) -> TestResponse:
        """Return the answer to *fields*, as a page's script sends them."""
        return self.client.post(
            f"/console/{path}",
            json={"form_token": self.form_token, **fields},
            headers={"Origin": self.origin, "Sec-Fetch-Site": "same-origin"},
            base_url=self.origin,
        )

    def cookie(self, name: str = "session") -> str:
        """Return the value of a cookie; empty without one."""
        found = self.client.get_cookie(name, self.origin.rpartition("/")[2])
        return found.value if found else ""


def links(page: TestResponse) -> list[str]:
    """Return all addresses in *page*."""
    return [unescape(found) for found in re.findall(r'(?:href|src|action|data-address)="([^"]*)"', page.text)]
