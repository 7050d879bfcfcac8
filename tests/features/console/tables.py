"""The entries of the console in the tables of general tests."""

from flask import Flask

from tests.console.person import Person


def visit(app: Flask, token: str) -> None:
    """Sign in with *token*, and out again."""
    person = Person(app, token)
    assert person.sign_in().status_code == person.submit("sign-out").status_code == 303
