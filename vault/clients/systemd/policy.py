"""Policy: the credentials that units may load, and the secrets that these are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vault.clients.delivery.outcomes import ForbiddenError, InvalidRequestError
from vault.clients.delivery.policy import FormError, RulesFile
from vault.clients.delivery.selection import LABEL_PREFIX, Patterns, Selection, selection

_FORM = (
    'must have a table "units" with a table for each unit, such as '
    '[units."shop.service"] with db-password = "shop/db-password"'
)
_KEYS = ("name", "id", "version", "field", "encoding")


class _Rule(NamedTuple):
    units: Patterns
    credentials: Mapping[str, Selection]


class UnitPolicy:
    """The table in a file, TOML or JSON, that gives secrets to units as credentials, and nothing else."""

    def __init__(self, path: Path) -> None:
        """Read the table.

        Raises:
            ForbiddenError: It cannot be read, or is invalid.
        """
        self._file = RulesFile(path, _rules)

    def selection(self, unit: str, credential: str) -> Selection:
        """Return the secret that is the *credential* of *unit*, by the current table.

        Raises:
            ForbiddenError: The unit has no such credential, or the file has become unreadable or invalid.
        """
        for rule in self._file.current():
            if credential in rule.credentials and rule.units.match(unit):
                return rule.credentials[credential]
        raise ForbiddenError(f"the policy does not give the credential {credential} to the unit {unit}")


def _rules(found: Any) -> Sequence[_Rule]:
    units = found.get("units") if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(units, dict):
        raise FormError(_FORM)
    # A unit precedes its patterns, and a longer pattern a shorter one.
    ordered = sorted(units, key=lambda unit: (unit.endswith("*"), -len(unit)))
    return [_Rule(_patterns(unit), _credentials(unit, units[unit])) for unit in ordered]


def _patterns(unit: str) -> Patterns:
    try:
        return Patterns([unit])
    except ValueError:
        raise FormError(f"{unit!r} must be a unit, with * only at the end") from None


def _credentials(unit: str, table: Any) -> Mapping[str, Selection]:
    if not isinstance(table, dict) or not table:
        raise FormError(_FORM)
    return {name: _selection(f"{unit}: {name}", secret) for name, secret in table.items()}


def _selection(place: str, secret: Any) -> Selection:
    parts = {"name": secret} if isinstance(secret, str) else secret
    if not isinstance(parts, dict) or not parts.keys() <= set(_KEYS):
        raise FormError(f"{place} must be the name of a secret, or a table of {', '.join(_KEYS)}")
    try:
        # In the same form as the labels of Docker's secrets, whose values are texts.
        return selection({f"{LABEL_PREFIX}{key}": str(part) for key, part in parts.items()})
    except InvalidRequestError as error:
        raise FormError(f"{place}: {str(error).replace(LABEL_PREFIX, '')}") from None
