"""The content of a report on the audit trail."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from vault.common.feature import Section, features
from vault.core.documents.audit import Record
from vault.core.keys.status import KeyRole, KeyStatus
from vault.core.trail.activity import Activity, shown_name
from vault.core.trail.findings import Gravity
from vault.features.exposure.ages import SecretAges, TokenAges


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verifying the whole trail."""

    #: The gravest kind of finding.
    kind: Gravity
    entries: int
    streams: int
    finding_count: int
    #: The first findings, notes included.
    findings: Sequence[str]

    @property
    def verdict(self) -> str:
        """The result in words."""
        return self.kind.verdict


@dataclass(frozen=True, slots=True)
class Trail:
    """The state of the trail."""

    #: None if no process has set it yet.
    enabled: bool | None
    streams: int
    #: The newest heads, the latest first.
    heads: Sequence[Record]
    #: None if it was not verified for the report.
    verification: Verification | None


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the report shows."""

    made_at: datetime
    version: str
    activity: Activity
    trail: Trail
    secrets: SecretAges
    tokens: TokenAges
    keys: Sequence[KeyStatus]
    #: The content of each section of a feature, by name.
    sections: Mapping[str, Any]

    @property
    def pending_rewraps(self) -> int:
        """The number of secret versions that are not under the primary key."""
        return sum(key.versions for key in self.keys if key.role is not KeyRole.PRIMARY)

    def data(self) -> dict[str, Any]:
        """Return the report as JSON has it. Secrets have names, or the beginnings of their IDs."""
        secrets = asdict(self.secrets)
        for name in ("oldest", "expiring"):
            secrets[name] = [
                {
                    "name": shown_name(secret.id, secret.name, secret.namespace),
                    "changed_at": secret.changed_at,
                    "expires_at": secret.expires_at,
                }
                for secret in getattr(self.secrets, name)
            ]
        keys = [asdict(key) | {"droppable": key.droppable} for key in self.keys]
        data = asdict(self) | {"secrets": secrets, "keys": keys}
        data |= data.pop("sections")
        return data | {"pending_rewraps": self.pending_rewraps}


def sections() -> list[Section]:
    """Return the sections of features, in their order."""
    return [section for one in features() for section in one.sections]
