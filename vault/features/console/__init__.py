"""The console: pages for people, over the services, limits and entries of the API."""

from vault.common.feature import Collection, Feature, Panel, Screen
from vault.core.principal import Scope

FEATURE = Feature(
    name="console",
    settings="vault.features.console.settings:ConsoleSettings",
    collections={
        "sessions": Collection(("find", "insert", "update", "remove", "createIndex"), is_kept=False)
    },
    documents=("vault.features.console.documents:Session",),
    services="vault.features.console.wiring:services",
    init_app="vault.features.console.wiring:init_app",
    pages=(
        "vault.features.console.changes:blueprint",
        "vault.features.console.credentials:blueprint",
        "vault.features.console.keys:blueprint",
        "vault.features.console.secrets:blueprint",
        "vault.features.console.sign_in:blueprint",
        "vault.features.console.status:blueprint",
        "vault.features.console.trail:blueprint",
    ),
    screens=(
        Screen(Scope.AUDIT_READ, "console.status.index", "Status", is_of_all=True),
        Screen(Scope.SECRET_LIST, "console.secrets.index", "Secrets"),
        Screen(Scope.SECRET_LIST, "console.secrets.index", "Expiring", "expiring"),
        Screen(Scope.AUDIT_READ, "console.trail.activity", "Activity"),
        Screen(Scope.AUDIT_READ, "console.trail.audit", "Audit"),
        Screen(Scope.TOKEN_MANAGE, "console.credentials.tokens", "Tokens"),
        Screen(Scope.AUDIT_READ, "console.keys.index", "Keys", is_of_all=True),
    ),
    panels=(Panel("sign_in", "console/open_id_panel.html", "vault.features.console.sign_in:offers"),),
)
