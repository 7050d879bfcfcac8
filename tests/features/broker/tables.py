"""The rows of the broker in the tables of general tests."""

from flask import Flask

from tests.features.broker.conftest import NAME, Sides
from tests.support.command_entries import Entry, Needs

ENTRIES = {"secret rules": Entry(Needs.SERVICE, ("app/db",))}

#: The refusals of operations on secrets to an administrator, who is no broker.
OUTSIDE = {"use": {"403"}, "usable": {"403"}}


def release(app: Flask) -> dict[str, set[tuple[str, ...]]]:
    """Use a secret; return who knows it, and how."""
    sides = Sides(app, app.test_client())
    sides.create()
    sides.use()
    return {NAME: {("boss", "write"), ("gate", "broker")}}
