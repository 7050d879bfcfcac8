"""The rows of imports in the tables of general tests."""

from tests.features.imports.odd_names import require_names
from tests.support.command_entries import Entry, Needs

ENTRIES = {"import vault": Entry(Needs.SERVICE, ("--token-file", "token", "--address", "SERVER"))}

#: Values that let a command end at once if a server does not answer.
IMPATIENT = {"vault.features.imports.kv_source._PAUSES_SECONDS": ()}

#: The kinds of errors that only commands have.
IN_COMMANDS = {"import_refused", "import_source", "import_source_away", "import_source_denied"}

#: A check of names that OpenBao takes.
REQUIRE_NAMES = require_names
