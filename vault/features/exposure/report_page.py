"""The page of a report: one HTML file without scripts, whose charts are SVG.

Names, addresses and user agents come from anyone. The template escapes all of them, invisible characters are
shown as escapes, and the page's own policy lets a browser run no script and load nothing.
"""

from base64 import b64encode
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from jinja2 import ChoiceLoader, DictLoader, Environment, PackageLoader, StrictUndefined

from vault.common.feature import features
from vault.common.text import printable
from vault.core.trail.activity import shown_name
from vault.features.exposure.report_content import Report, sections
from vault.toolkit.pages import charts
from vault.toolkit.pages.style import BASE, CHARTS, WEEKDAYS

#: The length of texts in tables; longer ones are cut.
_MAX_TEXT_LENGTH = 80


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
