"""A feature that is not there otherwise, with a kind of events."""

from vault.common.feature import EventKind, Feature
from vault.core.attempt import Action

SHARED = EventKind(
    "secret.shared",
    Action.DESCRIBE,
    "someone made a link to a secret",
    shown=("name", "namespace"),
    required=("name", "namespace"),
)
NOTES = Feature(name="notes", events=(SHARED,))
