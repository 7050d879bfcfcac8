"""The content of a report on the audit trail."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from jinja2 import ChoiceLoader, DictLoader, Environment, PackageLoader, StrictUndefined

from vault.common.feature import Section, features
from vault.common.text import printable
from vault.core.documents.audit import Record
from vault.core.keys.status import KeyRole, KeyStatus
from vault.core.trail.findings import Gravity
from vault.core.trail.summary import Activity, shown_name
from vault.features.exposure.ages import SecretAges, TokenAges
from vault.toolkit.pages import charts
from vault.toolkit.pages.style import BASE, CHARTS, WEEKDAYS

#: The length of texts in tables; longer ones are cut.
_MAX_TEXT_LENGTH = 80


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


def page_of(report: Report) -> str:
    """Return the page of *report*."""
    packages = [__package__, *(f"vault.features.{one.name}" for one in features() if one.sections)]
    environment = Environment(
        autoescape=True,
        loader=ChoiceLoader([*map(PackageLoader, packages), DictLoader({"charts.html": CHARTS})]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters |= {"number": "{:,}".format, "age": _age, "cut": _cut}
    style = BASE + environment.get_template("report.css").render()
    activity = report.activity
    slots = [(slot.start, asdict(slot.counts)) for slot in activity.slots]
    return environment.get_template("report.html").render(
        report=report,
        activity=activity,
        style=style,
        style_hash=b64encode(sha256(style.encode()).digest()).decode(),
        chart=charts.stacked_bars(slots, unit=activity.unit, since=activity.since, until=activity.until),
        charts=charts,
        weekdays=WEEKDAYS,
        busiest_hour=max(map(max, activity.hours)),
        most_reads=max((max(row.by_principal, default=0) for row in activity.secrets), default=0),
        most_requests=max((row.counts.total for row in activity.principals), default=0),
        most_refusals=max(activity.refusal_reasons.values(), default=0),
        most_of_an_age=max(report.secrets.ages.values(), default=0),
        shown_name=shown_name,
        sections=sections(),
    )


def _shown(value: Any) -> Any:
    """Return *value* as the page shows it, before it is escaped."""
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"
    # Markup is a subclass: it has been through this already.
    return printable(value) if type(value) is str else value


def _cut(text: str) -> str:
    """Return *text* in full if it is short."""
    return text if len(text) <= _MAX_TEXT_LENGTH else text[: _MAX_TEXT_LENGTH - 1] + "…"


def _age(time: datetime | None, now: datetime) -> str:
    """Return the time from *time* until *now*, or from *now* until *time*, in days; empty without a time."""
    return "" if time is None else f"{abs(now - time).days:,} d"
