"""The rows of the broker in the tables of general tests."""

from tests.support.command_entries import Entry, Needs

ENTRIES = {"secret rules": Entry(Needs.SERVICE, ("app/db",))}

#: The refusals of operations on secrets to an administrator, who is no broker.
OUTSIDE = {"use": {"403"}, "usable": {"403"}}
