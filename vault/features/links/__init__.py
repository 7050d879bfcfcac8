"""Links for people without a credential: to a value that is shared once, and to a request for a value."""

from vault.common.feature import Collection, Command, EventKind, Feature, Panel
from vault.core.attempt import Action

FEATURE = Feature(
    name="links",
    errors="vault.features.links.errors",
    collections={"requests": Collection(("find", "insert", "update", "remove", "createIndex"))},
    documents=("vault.features.links.documents:ValueRequest",),
    services="vault.features.links.wiring:services",
    blueprints=("vault.features.links.api:blueprint",),
    pages=("vault.features.links.pages:blueprint",),
    panels=(
        Panel("secret", "console/share_panel.html"),
        Panel("folder", "console/request_panel.html"),
    ),
    commands={
        "secret request": Command("vault.features.links.commands:request"),
        "secret share": Command("vault.features.links.commands:share"),
    },
    events=(
        EventKind(
            "share.opened",
            Action.UNWRAP,
            "someone opened the [share](api.md#shares-and-requests) of `shared_by`, which can be without a "
            "`name`",
            shown=("name", "namespace", "version", "shared_by"),
            required=("namespace",),
            mark="share",
            has_secret_id=False,
        ),
        EventKind(
            "request.filled",
            Action.CREATE,
            "someone stored the value that `requested_by` asked for; `secret.created` comes, too",
            shown=("name", "namespace", "requested_by"),
            required=("name", "namespace"),
            same=(),
            mark="request",
        ),
    ),
)
