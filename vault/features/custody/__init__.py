"""Custody of the master keys: the keyring file, and the providers that wrap and unwrap its keys."""

from functools import partial

from vault.common.feature import Command, EventKind, Feature, Opener, Panel, Section
from vault.core.attempt import Action

_OF_KEY = partial(EventKind, shown=("key_id", "slot"), required=("key_id",))

FEATURE = Feature(
    name="custody",
    settings="vault.features.custody.settings:CustodySettings",
    tasks="vault.features.custody.wiring:tasks",
    pages=("vault.features.custody.pages:blueprint",),
    panels=(Panel("keys", "console/slots_panel.html", "vault.features.custody.pages:slots"),),
    commands={
        "audit reconcile": Command(
            "vault.features.custody.commands.reconcile:reconcile",
            "Compare custody's entries with the log of a provider.",
        ),
        "keys custody": Command(
            "vault.features.custody.commands.group:custody",
            "Keep the master keys wrapped by providers, in a file.",
        ),
    },
    status="vault.features.custody.status:lines",
    sections=(
        Section("custody", "keys", "report_custody.html", "vault.features.custody.trail:custody_activity"),
    ),
    opener=Opener(
        "MASTER_KEYRING_FILE",
        "vault.features.custody.wiring:with_keys",
        "vault.features.custody.wiring:attempts",
    ),
    events=(
        _OF_KEY("key.opened", Action.KEY_OPENED, "a start or a command [opened a master key](custody.md)"),
        _OF_KEY("key.recovered", Action.KEY_RECOVERED, "people with shares opened a master key"),
        EventKind(
            "custody.slot_down",
            Action.CUSTODY_SLOT_DOWN,
            "a check found that a slot of the keyring file no longer opens",
            shown=("key_id", "slot", "state"),
            required=("slot",),
        ),
    ),
)
