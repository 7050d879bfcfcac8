"""Vault's API, under `/v1/`: clients of HashiCorp Vault and OpenBao use the service as it is."""

from vault.common.feature import Feature

FEATURE = Feature(
    name="dialect",
    errors="vault.features.dialect.errors",
    services="vault.features.dialect.wiring:services",
    blueprints=(
        "vault.features.dialect.kv:blueprint",
        "vault.features.dialect.kv_metadata:blueprint",
        "vault.features.dialect.system:blueprint",
        "vault.features.dialect.auth:blueprint",
        "vault.features.dialect.tokens:blueprint",
        "vault.features.dialect.wrapping:blueprint",
    ),
    init_app="vault.features.dialect.wiring:init_app",
)
