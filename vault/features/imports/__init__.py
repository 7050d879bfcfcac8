"""Imports: secrets of Vault and OpenBao move in, and are compared by hash."""

from vault.common.feature import Command, Feature

FEATURE = Feature(
    name="imports",
    commands={
        "import": Command(
            "vault.features.imports.commands:imports", "Move secrets in from another secret manager."
        )
    },
)
