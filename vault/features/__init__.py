"""The features of the service: each a folder, and one line in this list, whose order is theirs everywhere."""

from pkgutil import resolve_name

from vault.common.feature import Feature

_NAMES = """
console
jwt
custody
copies
rotation
proofs
exposure
links
broker
webhooks
imports
backup
mongodb
compaction
dialect
"""

FEATURES: tuple[Feature, ...] = tuple(
    resolve_name(f"vault.features.{name}:FEATURE") for name in _NAMES.split()
)
