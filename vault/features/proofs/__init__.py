"""Proofs that the trail is whole, out of reach of its database: witnesses, which confirm checkpoints."""

from vault.common.feature import Command, Feature, Panel, Section

FEATURE = Feature(
    name="proofs",
    errors="vault.features.proofs.errors",
    settings="vault.features.proofs.settings:WitnessSettings",
    services="vault.features.proofs.wiring:services",
    tasks="vault.features.proofs.wiring:tasks",
    blueprints=("vault.features.proofs.api:blueprint",),
    pages=("vault.features.proofs.pages:blueprint",),
    panels=(Panel("activity", "console/witnesses_panel.html", "vault.features.proofs.pages:panel_values"),),
    commands={
        "audit witness": Command(
            "vault.features.proofs.commands:witness",
            "Show a checkpoint to the witnesses, and print their answers.",
        )
    },
    evidence=("vault.features.proofs.evidence:WitnessedFile",),
    status="vault.features.proofs.status:lines",
    sections=(
        Section(
            "witnesses", "trail", "report_witnesses.html", "vault.features.proofs.commands:report_section"
        ),
    ),
)
