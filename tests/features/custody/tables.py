"""The rows of custody in the tables of general tests."""

from datetime import datetime

from tests.support.command_entries import Entry, Needs, of_mongodb
from tests.support.leaks import PASSWORD
from vault.features.custody.trail import CustodyActivity


def of_custody(*arguments: str) -> Entry:
    """Return the entry of a command about the keyring file, which needs MongoDB."""
    return Entry(Needs.OWN, arguments)


ENTRIES = {
    "audit reconcile": of_mongodb("--provider-log", "log"),
    "keys custody add": of_custody("b", "command", "/bin/cat"),
    "keys custody check": of_custody(),
    "keys custody drop": of_custody("0123456789abcdef"),
    "keys custody init": Entry(Needs.NOTHING, ("new.json", "--slot", "a=command,/bin/cat")),
    "keys custody new-key": of_custody(),
    "keys custody promote": of_custody("0123456789abcdef"),
    "keys custody recovery create": of_custody("--threshold", "2", "--shares", "3", "--out-dir", "shares"),
    "keys custody recovery restore": of_custody("--slot", "c=command,/bin/cat"),
    "keys custody remove": of_custody("b"),
    "keys custody rewrap": of_custody("a"),
    "keys custody show": Entry(Needs.NOTHING),
}

#: Commands in an order in which they succeed, on an empty database.
SUCCESSES = ("audit reconcile --provider-log log",)

#: Kinds of errors that only commands have.
IN_COMMANDS = {"custody_refused", "custody_unavailable", "keyring_file"}

#: Modules with optional libraries, which belong into processes of their own.
APART = {"vault.features.custody.pkcs11_token", "vault.features.custody.tpm"}

#: An invalid value of each setting; what must not be shown of it begins with `hunter2`.
INVALID_SETTINGS = {"CUSTODY_CHECK_SECONDS": "0", "CUSTODY_TIMEOUT_SECONDS": "hunter2"}

#: Settings that are secret.
LEAK_SETTINGS = {"PKCS11_PIN": PASSWORD, "TRANSIT_TOKEN": PASSWORD}


def report_sections(_text: str, time: datetime) -> dict[str, object]:
    """Return the section of a report."""
    return {"custody": CustodyActivity(True, 3, 1, 2, 0, time, needs_drill=False, is_newest=True)}


#: Settings with which the service would not start, and what `config check` says.
WRONG_SETTINGS = [
    ({"MASTER_KEYRING_FILE": "/k.json"}, "MASTER_KEY: cannot be set together with MASTER_KEYRING_FILE."),
    (
        {"MASTER_KEY": "", "MASTER_KEYRING_FILE": "/k.json", "FEATURES_OFF": "custody"},
        "MASTER_KEYRING_FILE: needs custody, which is in FEATURES_OFF.",
    ),
]

#: Settings of which some are in files that are not here.
SETTINGS_ELSEWHERE = [
    {"MASTER_KEY": "", "MASTER_KEYRING_FILE": "/k.json", "TRANSIT_TOKEN_FILE": "/run/secrets/transit"},
]

#: Settings that look like a mistake, and what `config check` says.
DOUBTFUL_SETTINGS = [
    (
        {"MASTER_KEYRINGFILE": "/k.json"},
        "MASTER_KEYRINGFILE has no effect; did you mean MASTER_KEYRING_FILE?",
    ),
]
