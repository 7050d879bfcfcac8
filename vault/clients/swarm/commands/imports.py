"""The commands `swarm import` and `swarm import-task`: take over the secrets that a swarm has itself."""

import json
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from vault.clients.delivery.selection import LABEL_PREFIX
from vault.clients.swarm.engine import DRIVER
from vault.clients.swarm.imports.importer import Importer, Target
from vault.clients.swarm.imports.one_shot import ImportEngine
from vault.clients.swarm.imports.plan import Item, Plan, keys, plan
from vault.clients.swarm.imports.task import FOLDER, ImportTask, Order, Report
from vault.common.errors import VaultError
from vault.common.outcomes import ImportOutcome
from vault.common.paths import name_flaw
from vault.common.text import quantity
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.client.secrets import Secrets
from vault.toolkit.client.service import Service

#: For a plan: it is here, and the task compares its value.
_HERE = "exists here"

_COLUMNS = {"in the swarm": "secret", "here": "name", "outcome": "outcome", "reason": "reason"}


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise click.BadParameter("must be NAME=VALUE")
    return name, value


def _renaming(text: str) -> tuple[str, str]:
    name, here = _pair(text)
    if flaw := name_flaw(here):
        raise click.BadParameter(f"must be NAME=NAME, the second such as billing/db-password, which {flaw}")
    return name, here


@click.command("import")
@click.option("--apply", is_flag=True, help="Import. Without it, only show the plan.")
@click.option(
    "--only", metavar="NAME", multiple=True, help="A secret to import. Can be repeated.  [default: all]"
)
@click.option(
    "--label",
    "labels",
    metavar="NAME=VALUE",
    type=_pair,
    multiple=True,
    help="Only secrets with this label. Can be repeated.",
)
@parameters.import_prefix_option
@click.option(
    "--name",
    "names",
    metavar="NAME=NAME",
    type=_renaming,
    multiple=True,
    help="Another name here, such as shop_db=shop/db. Can be repeated.",
)
@click.option("--update", is_flag=True, help="Store differing values as new versions.")
@click.option(
    "--image",
    metavar="IMAGE",
    envvar="IMAGE",
    default="secret-manager:latest",
    show_default=True,
    help="The image of the task, this version's.",
)
@click.option(
    "--node",
    metavar="NODE",
    default="",
    help="The ID or name of the node that runs the task.  [default: this manager]",
)
@click.option(
    "--network",
    metavar="NAME",
    envvar="SECRET_MANAGER_NETWORK",
    default="secret-manager_secret-manager-network",
    show_default=True,
    help="The task's network.",
)
@click.option(
    "--task-url",
    metavar="URL",
    type=parameters.service_url,
    envvar="SECRET_MANAGER_URL",
    default="http://secret-manager:8000",
    show_default=True,
    help="The service, as the task reaches it.",
)
@service_options
@output_options
def swarm_import(
    apply: bool,
    only: Sequence[str],
    labels: Sequence[tuple[str, str]],
    prefix: str,
    names: Sequence[tuple[str, str]],
    update: bool,
    image: str,
    node: str,
    network: str,
    task_url: str,
    service: Service,
    output: Output,
) -> None:
    """Import the swarm's own secrets.

    A task in the swarm mounts them, stores them here under their names, and compares the result. What is here
    already is not changed, except with --update. Exits with 1 if a secret differs or could not be imported.
    """
    with closing(ImportEngine()) as engine:
        planned = plan(
            engine.secrets(), only=set(only), labels=dict(labels), prefix=prefix, names=dict(names)
        )
        if not apply:
            _show_plan(planned, service, output)
            return
        target = Target(
            image=image,
            network=network,
            node=engine.node(node),
            url=task_url,
            token=service.token,
            role=service.role,
            ca=Path(service.ca_file).read_text(encoding="ascii") if service.ca_file else "",
        )
        reports = _apply(Importer(engine, target, update=update), planned, output)
    is_good = _show_hashes([report for _, report in reports], output)
    _show_stack_files([item for item, report in reports if report.is_equal], output)
    sys.exit(not is_good)


def _apply(importer: Importer, planned: Plan, output: Output) -> Sequence[tuple[Item, Report]]:
    reports: list[tuple[Item, Report]] = []
    try:
        with output.bar("importing", len(planned.items)) as bar, closing(importer.run(planned.items)) as run:
            for report in run:
                reports.append(report)
                bar.advance(1)
    finally:
        _show_skipped(planned, output)
        if reports:
            output.table(
                _COLUMNS,
                [_row(item, report.outcome.label, reason=report.reason) for item, report in reports],
            )
    return reports


@click.command("import-task", hidden=True)
def import_task() -> None:
    """Store the mounted secrets; `swarm import` starts this in the swarm."""
    order = Order.read(FOLDER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as ca:
        ca.write(order.ca)
        ca.flush()
        service = Service(order.url, order.token, ca_file=ca.name if order.ca else None, role=order.role)
    try:
        for report in ImportTask(order, service, FOLDER).run():
            _say(asdict(report))
    except VaultError as error:
        # On standard output: that is what the import reads.
        _say({"error": str(error)})
        raise
    _say({"done": True})


def _say(line: Mapping[str, Any]) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - immediately, not when the task ends


def _show_plan(planned: Plan, service: Service, output: Output) -> None:
    """Print what an import would do, without asking Docker or the service for a value."""
    rows, here, secrets = [], 0, Secrets(service)
    with output.bar("planning", len(planned.items)) as bar:
        for item in planned.items:
            is_here = secrets.find({"name": item.name}) is not None
            here += is_here
            rows.append(_row(item, _HERE if is_here else ImportOutcome.MISSING.label))
            bar.advance(1)
    _show_skipped(planned, output)
    output.table(_COLUMNS, rows)
    missing = quantity(len(rows) - here, "secret")
    output.text(f"{missing} to import, {here} to compare. Nothing was changed: add --apply.")


def _row(item: Item, outcome: str, *, reason: str = "") -> Mapping[str, Any]:
    return {"secret": item.secret.name, "name": item.name, "outcome": outcome, "reason": reason}


def _show_skipped(planned: Plan, output: Output) -> None:
    for secret, reason in planned.skipped:
        output.note(f"not imported: {secret.name}: {reason}")


def _show_hashes(reports: Sequence[Report], output: Output) -> bool:
    """Print the hash of each side, and return whether they are equal."""
    there = _digest(report.there for report in reports)
    here = _digest(report.here for report in reports)
    is_equal = there == here
    # Keyed, so that they reveal nothing.
    output.result(
        {"secrets": len(reports), "hash_there": there, "hash_here": here, "equal": is_equal},
        f"compared: {quantity(len(reports), 'secret')}\n"
        f"hash of the swarm's secrets, with a key of this run: {there}\n"
        f"hash of the secrets here, with the same key: {here}\n"
        + ("the hashes are equal" if is_equal else "the hashes DIFFER"),
    )
    return is_equal


def _digest(hashes: Iterable[str]) -> str:
    return sha256("\n".join(hashes).encode()).hexdigest()


def _show_stack_files(items: Iterable[Item], output: Output) -> None:
    """Print the sections of stack files that use the secrets from here on."""
    stacks: dict[str, list[Item]] = {}
    for item in items:
        stacks.setdefault(item.secret.stack, []).append(item)
    for stack, found in stacks.items():
        output.text("")
        output.text(
            f"In the file of the stack {stack}, in place of these secrets:" if stack else "In a stack file:"
        )
        output.text("secrets:")
        for key, item in zip(keys([item.secret for item in found]), found, strict=True):
            output.text(f"  {key}:")
            # Under the same name, Docker would keep its own secret.
            output.text(f"    name: {item.successor}")
            output.text(f"    driver: {DRIVER}")
            output.text("    labels:")
            output.text(f"      {LABEL_PREFIX}name: {_scalar(item.name)}")


def _scalar(name: str) -> str:
    """Return *name* as a stack file has it, in which `$` begins the name of a variable."""
    is_plain = re.fullmatch("[A-Za-z0-9_][A-Za-z0-9._/-]*", name)
    # In double quotes, YAML takes the escapes of JSON.
    return name if is_plain else json.dumps(name.replace("$", "$$"), ensure_ascii=False)
