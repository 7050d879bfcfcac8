"""Copies of the master key apart from the service: shares of people, or a file encrypted for age."""

from vault.common.feature import Command, EventKind, Feature
from vault.core.attempt import Action

FEATURE = Feature(
    name="copies",
    commands={
        "keys combine": Command(
            "vault.features.copies.commands:combine", "Print the master key that shares restore."
        ),
        "keys copy": Command("vault.features.copies.commands:copy", "Copy the master key, on record."),
        "keys identify": Command("vault.features.copies.commands:identify", "Print the ID of a master key."),
    },
    events=(
        EventKind(
            "key.copied",
            Action.KEY_COPIED,
            "an operator [copied the master key](copies.md)",
            shown=("key_id", "form"),
            required=("key_id",),
        ),
    ),
)
