"""The command `audit report`: who fetched what and when, for people, as text, JSON or one HTML page.

A command, so that the service has no page with everyone's names, and no session for one.
"""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import click

from vault import __version__
from vault.common.feature import resolved
from vault.common.text import printable, quantity
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.documents import registry
from vault.core.documents.guard import storage_errors
from vault.core.keys.status import key_statuses
from vault.core.parts import Parts
from vault.core.principal import OPERATOR
from vault.core.trail import reader
from vault.core.trail.activity import STEPS, summarize
from vault.core.trail.findings import Gravity, gravest
from vault.core.trail.reader import Filter
from vault.core.trail.streams import checkpoint
from vault.core.trail.verifier import Verifier, read_on, retention_start, verify_records
from vault.features.exposure.ages import secret_ages, token_ages
from vault.features.exposure.report_content import Report, Trail, Verification, sections
from vault.features.exposure.report_page import page_of
from vault.service.commands.context import connected
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Output, facts, output_options
from vault.toolkit.client import private_files

#: What expires within this time, expires soon.
_SOON = timedelta(days=30)

#: The maximum number of heads and findings in a report.
_MAX_HEADS = 12
_MAX_FINDINGS = 20

_STANDARD_OUTPUT = "-"

#: The steps of a report without sections of features: the summary, secrets, tokens, keys and heads.
_STEPS = STEPS + 4


def _checked_path(_context: click.Context, _option: click.Parameter, path: str | None) -> str | None:
    """Return *path*, before the report takes its time, if a file can be there."""
    if path and path != _STANDARD_OUTPUT:
        file = Path(path)
        if not file.parent.is_dir():
            raise click.BadParameter("its folder does not exist")
        if not private_files.is_replaceable(file):
            raise click.BadParameter("it is not a regular file: choose another name")
    return path


@click.command()
@click.option(
    "--since",
    "period",
    metavar="DURATION",
    type=parameters.duration,
    default="30d",
    show_default=True,
    help="The period up to now, such as 12h, 30d or 52w.",
)
@click.option(
    "--html",
    "path",
    metavar="FILE",
    callback=_checked_path,
    help="Write one HTML page to FILE, or to standard output with -.",
)
@click.option(
    "--verify/--no-verify",
    "is_verified",
    default=True,
    show_default=True,
    help="Verify the whole trail as well, about 30,000 entries a second.",
)
@output_options
def report(output: Output, period: timedelta, path: str | None, is_verified: bool) -> None:
    """Show who fetched what, and what needs attention.

    The report has the busiest principals and secrets, refusals, the state of the trail, ages of secrets and
    tokens, master keys and backups. It contains no values, tokens or keys, and no whole IDs of secrets.

    It is recorded in the trail, and needs a MongoDB user who may insert into it.
    """
    if path == _STANDARD_OUTPUT and output.as_json:
        raise click.UsageError("Leave out --json or --html -: both are for standard output.")
    now = datetime.now(UTC)
    details = {"since": moment(now - period), "verify": is_verified}
    attempt = Attempt(action=Action.AUDIT_REPORT, principal=OPERATOR, details=details)
    with connected(output, reading=True, recorded=True) as parts:
        reader.record(attempt)
        found = _report(parts, now, period, output, is_verified=is_verified)
    if path is None:
        output.result(found.data(), _text(found))
        return
    page = page_of(found).encode()
    if path == _STANDARD_OUTPUT:
        click.echo(page, nl=False)
    else:
        private_files.write(Path(path), page)
        output.result({"file": path, "bytes": len(page)}, f"report in {printable(path)}, {len(page):,} bytes")


def _report(parts: Parts, now: datetime, period: timedelta, output: Output, *, is_verified: bool) -> Report:
    keyring = parts.keyring
    added = sections()
    with output.bar("Reading", _STEPS + len(added)) as shown:
        activity = summarize(now - period, now, progress=shown.advance)
        secrets = secret_ages(now, soon=_SOON)
        shown.advance(1)
        tokens = token_ages(keyring, now, since=now - period, soon=_SOON)
        shown.advance(1)
        keys = key_statuses(keyring)
        shown.advance(1)
        contents = {}
        for section in added:
            [content_of] = resolved([section.content])
            contents[section.name] = content_of(parts, now - period, now)
            shown.advance(1)
        heads = sorted(checkpoint.heads(keyring), key=lambda head: str(head["ts"]), reverse=True)
        with storage_errors():
            enabled = registry.trail_state().enabled
        shown.advance(1)
    verification = _verification(parts, now, output) if is_verified else None
    trail = Trail(enabled, len(heads), heads[:_MAX_HEADS], verification)
    return Report(now, __version__, activity, trail, secrets, tokens, keys, contents)


def _verification(parts: Parts, now: datetime, output: Output) -> Verification:
    verifier = Verifier.of_database(
        parts.keyring,
        kept_since=lambda: retention_start(parts.settings.audit_ttl_days, datetime.now(UTC)),
        retention_days=parts.settings.audit_ttl_days,
    )
    with output.bar("Verifying the trail", reader.estimate()) as shown:
        records = reader.counted(reader.export(Filter()), shown.advance)
        kinds: set[Gravity] = set()
        findings, count = [], 0
        for finding in verify_records(verifier, records, partial(read_on, began=now)):
            kinds.add(finding.kind)
            count += 1
            if count <= _MAX_FINDINGS:
                findings.append(str(finding))
    if Gravity.TAMPERING in kinds:
        reader.record(Attempt(action=Action.AUDIT_TAMPERING, principal=OPERATOR))
    return Verification(gravest(kinds), verifier.entries, verifier.streams, count, findings)


def _text(found: Report) -> str:
    """Return the report in a few lines."""
    activity, counts = found.activity, found.activity.counts
    busiest = ", ".join(f"{row.name} ({row.counts.total:,})" for row in activity.principals[:5])
    read = ", ".join(f"{row.name} ({row.reads:,})" for row in activity.secrets[:5])
    reasons = ", ".join(f"{reason} ({count:,})" for reason, count in activity.refusal_reasons.items())
    tokens = found.tokens
    backup = activity.last_backup
    lines = {
        "period": f"{moment(activity.since)} to {moment(activity.until)}",
        "requests": f"{counts.total:,}: {counts.reads:,} reads, {counts.uses:,} uses, "
        f"{counts.other:,} other, {counts.refused:,} refused, {counts.failed:,} failed",
        "principals": f"{activity.principal_count:,}, the busiest: {busiest or 'none'}",
        "secrets read": f"{activity.secret_count:,}, the most read: {read or 'none'}",
        "refused, failed": reasons or "none",
        "trail": _trail_text(found.trail),
        "secrets": f"{found.secrets.count:,}, {found.secrets.expiring_count:,} expire within 30 days",
        "tokens": f"{tokens.states['active']:,} active, {tokens.unused_count:,} unused, "
        f"{tokens.expiring_count:,} expire within 30 days",
        "keys": f"{quantity(len(found.keys), 'master key')}, "
        f"{quantity(found.pending_rewraps, 'pending rewrap')}",
        **{name: content.line for name, content in found.sections.items() if content.line},
        "last backup": f"{moment(backup.time)}, {backup.status}" if backup else "none in this period",
    }
    return facts({f"{label}:": text for label, text in lines.items()})


def _trail_text(trail: Trail) -> str:
    verified = trail.verification
    state = {True: "enabled", False: "DISABLED", None: "new"}[trail.enabled]
    if verified is None:
        return f"{state}, {quantity(trail.streams, 'stream')}, not verified"
    entries = quantity(verified.entries, "entry", "entries")
    return f"{state}, {entries} in {quantity(verified.streams, 'stream')}: {verified.verdict}"
