"""The commands `audit query` and `audit tail` for holders of a token: the audit trail over HTTP."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn
from uuid import uuid4

import click

from vault.toolkit.cli import entries
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.exits import until_ctrl_c
from vault.toolkit.cli.output import Lines, Output, output_options
from vault.toolkit.client.service import Service

#: Seconds between two looks of `tail`: each is an entry of its own.
_INTERVAL_SECONDS = 5


class _Trail:
    """The audit trail of *service*; every page is a query on record."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._mark = f"tail-{uuid4()}"

    def page(self, **query: Any) -> tuple[list[dict[str, Any]], Any, Any]:
        """Return a page of entries, and the cursors for the next and for a later one, as the API has them."""
        page = self._service.call("/vault/audit/query", query, request_id=self._mark)
        found, cursor, follow = (page.get(name) for name in ("entries", "cursor", "follow"))
        if not (isinstance(found, list) and all(isinstance(one, dict) for one in found) and follow):
            raise self._service.odd_reply()
        return found, cursor, follow

    def lines(self, output: Output) -> Lines:
        """Return lines for entries, as the holder of the credential reads them."""
        if output.as_json:
            return entries.lines(output)
        own = self._service.call("/vault/token/self", {}, request_id=self._mark).get("namespace")
        if not isinstance(own, str):
            raise self._service.odd_reply()
        return entries.lines(output, own)

    def is_own(self, entry: Mapping[str, Any]) -> bool:
        """Return whether *entry* is about a query of this object."""
        return entry.get("request_id") == self._mark


@click.command
@entries.filters
@entries.limit_option
@entries.newest_first_option
@service_options
@output_options
def query(which: Mapping[str, Any], limit: int, newest_first: bool, service: Service, output: Output) -> None:
    """Show entries, oldest first.

    --json has all fields of the entries. Without it, each entry is one line. There is no master key, so this
    command uses your token, which needs the scope audit:read. The query is recorded.
    """
    trail = _Trail(service)
    shown = trail.lines(output)
    body = {"name" if name == "secret_name" else name: _text(value) for name, value in which.items()}
    order, cursor, left = "newest_first" if newest_first else "oldest_first", None, limit
    while left:
        found, cursor, _ = trail.page(**body, order=order, cursor=cursor, limit=min(left, entries.PAGE_LIMIT))
        shown.show(found)
        left -= len(found)
        if cursor is None:
            if left == limit:
                output.note("0 entries")
            return
    output.note("There are more entries. Hint: use a higher --limit")


@click.command
@entries.lines_option(click.IntRange(0, entries.PAGE_LIMIT))
@entries.follow_option
@service_options
@output_options
def tail(lines: int, follow: bool, service: Service, output: Output) -> None:
    """Show the newest entries, and follow the trail.

    The newest entry is last. With --follow, new entries are shown until Ctrl-C. There is no master key, so
    this command uses your token, which needs the scope audit:read. Its own queries are recorded, and not
    shown.
    """
    trail = _Trail(service)
    shown = trail.lines(output)
    # As many as a page has: `follow` can repeat them.
    newest, _, cursor = trail.page(order="newest_first", limit=entries.PAGE_LIMIT)
    shown.show(newest[:lines][::-1])
    if not follow:
        return
    with until_ctrl_c():
        _follow(trail, shown, newest, cursor)


def _follow(trail: _Trail, shown: Lines, newest: Sequence[Mapping[str, Any]], cursor: Any) -> NoReturn:
    seen = {_place(entry) for entry in newest}
    while True:
        time.sleep(_INTERVAL_SECONDS)
        more = True
        while more:
            found, following, cursor = trail.page(cursor=cursor, limit=entries.PAGE_LIMIT)
            shown.show(entry for entry in found if _place(entry) not in seen and not trail.is_own(entry))
            more = following is not None


def _place(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the place of *entry* in the trail, which it has alone."""
    return str(entry.get("stream")), str(entry.get("seq"))


def _text(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
