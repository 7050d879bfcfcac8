"""A feature that is not there otherwise, with a kind of events."""

from vault.common.feature import EventKind, Feature
from vault.core.attempt import Action

HAPPENED = EventKind(
    "invented.happened",
    Action.DESCRIBE,
    "something happened to a secret",
    shown=("name", "namespace"),
    required=("name", "namespace"),
)
INVENTED = Feature(name="invented", events=(HAPPENED,))
