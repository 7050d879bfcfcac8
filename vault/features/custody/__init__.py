"""Custody of the master keys: the keyring file, and the providers that wrap and unwrap its keys."""

from vault.common.feature import Command, Feature, Opener, Panel, Section

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
    sections=(
        Section("custody", "keys", "report_custody.html", "vault.features.custody.trail:custody_activity"),
    ),
    opener=Opener(
        "MASTER_KEYRING_FILE",
        "vault.features.custody.wiring:with_keys",
        "vault.features.custody.wiring:attempts",
    ),
)
