"""Compaction of the audit trail: streams of ended processes are closed, and listed in summaries."""

from vault.common.feature import Command, Feature

FEATURE = Feature(
    name="compaction",
    status="vault.features.compaction.status:lines",
    tasks="vault.features.compaction.wiring:tasks",
    commands={
        "audit compact": Command(
            "vault.features.compaction.commands:compact",
            "Close idle streams, and list closed ones in summaries.",
        )
    },
)
