"""Exposure: who knows which value, by the audit trail; with offboardings, and the report on the trail."""

from vault.common.feature import Command, Feature, Panel

FEATURE = Feature(
    name="exposure",
    blueprints=("vault.features.exposure.api:blueprint",),
    pages=("vault.features.exposure.pages:blueprint",),
    panels=(Panel("secret", "console/known_link.html", is_link=True),),
    commands={
        "exposure": Command(
            "vault.features.exposure.commands.exposure:exposure",
            "List who knows the current value of SECRET, a name or an ID.",
        ),
        "offboard": Command(
            "vault.features.exposure.commands.offboard:offboard",
            "End a principal's access, and list the secrets to rotate.",
        ),
        "audit report": Command(
            "vault.features.exposure.commands.report:report",
            "Show who fetched what, and what needs attention.",
        ),
    },
    evidence=("vault.features.exposure.evidence:CertificateFile",),
)
