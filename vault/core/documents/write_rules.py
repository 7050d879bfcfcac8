"""Write rules: what a secret demands of its writes, and for how long it keeps versions."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from vault.common.durations import kv_duration_text

#: The maximum of a rule; in seconds, 68 years.
MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRules:
    """The write rules of a secret. The ciphertext is not bound to them."""

    #: Whether an update must name the newest version.
    version_required: bool = False
    #: Whether a change of the metadata must name the newest version of that.
    metadata_version_required: bool = False
    #: The number of versions that are kept; 0 for as many as the service keeps.
    max_versions: int = 0
    #: Seconds after which a new version is deleted; 0 for never.
    delete_after_seconds: int = 0

    @classmethod
    def of_stored(cls, value: object) -> Self:
        """Return the rules in a document; a rule of another type is unset."""
        found = value if isinstance(value, dict) else {}
        defaults = asdict(cls())
        return cls(**{name: found[name] for name in defaults if _is_like(found.get(name), defaults[name])})

    def stored(self) -> Mapping[str, Any]:
        """Return what a document has of these rules: those that are set."""
        # Not `asdict`, which copies deeply: every create calls this.
        rules = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: rule for name, rule in rules.items() if rule}

    def changes(self, new: Self) -> dict[str, dict[str, Any]]:
        """Return the rules that differ in *new*, each with its `old` and its `new` value, for an entry."""
        before, after = self._shown(), new._shown()
        return {
            name: {"old": before[name], "new": after[name]} for name in before if before[name] != after[name]
        }

    def _shown(self) -> dict[str, Any]:
        """Return all rules; the one of time as people set it, under the name that they know."""
        rules = asdict(self)
        return rules | {"delete_version_after": kv_duration_text(rules.pop("delete_after_seconds"))}


def _is_like(value: object, default: object) -> bool:
    if isinstance(default, bool):
        return isinstance(value, bool)
    # An attacker may have stored more seconds than there are years.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER
