"""JWTs as credentials: their issuers, such as CI systems, and the roles that they act with."""

from vault.common.feature import Collection, Command, Feature, Screen
from vault.core.principal import Scope

_ACTIONS = ("find", "insert", "update", "remove", "createIndex")

FEATURE = Feature(
    name="jwt",
    errors="vault.features.jwt.errors",
    settings="vault.features.jwt.settings:JWTSettings",
    collections={
        "issuers": Collection(_ACTIONS, indexes="vault.features.jwt.documents:ISSUER_INDEXES"),
        "roles": Collection(_ACTIONS, indexes="vault.features.jwt.documents:ROLE_INDEXES"),
    },
    documents=("vault.features.jwt.documents:Role", "vault.features.jwt.documents:Issuer"),
    services="vault.features.jwt.wiring:services",
    credentials="vault.features.jwt.credentials:JWTCredentials",
    blueprints=("vault.features.jwt.api.roles:blueprint", "vault.features.jwt.api.issuers:blueprint"),
    pages=("vault.features.jwt.pages:blueprint",),
    screens=(Screen(Scope.TOKEN_MANAGE, "console.roles.index", "Roles"),),
    commands={
        "issuers": Command(
            "vault.features.jwt.commands.issuers:issuers", "Create, list, delete and test issuers of JWTs."
        ),
        "roles": Command(
            "vault.features.jwt.commands.roles:roles", "Create, list, delete and test roles for JWTs."
        ),
    },
)
