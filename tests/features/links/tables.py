"""The entries of links in the tables of general tests."""

from tests.support.command_entries import Entry, Needs

ENTRIES = {
    "secret request": Entry(Needs.SERVICE, ("app/db",)),
    "secret share": Entry(Needs.SERVICE, ("app/db",)),
}

#: The operations for which the token of a link is enough.
OPEN_OPERATIONS = {
    *("/vault/share/describe", "/vault/share/open"),
    *("/vault/request/describe", "/vault/request/fill"),
}
#: Those whose example has a name, which requires a credential.
NAMED_OPERATIONS = {"/vault/secret/share", "/vault/secret/request"}
