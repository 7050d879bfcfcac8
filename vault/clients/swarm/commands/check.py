"""The command `swarm check`: the secrets that a stack file asks for exist, and its services may have them."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from vault.clients.delivery.policy import PolicyFile
from vault.clients.delivery.selection import Reference
from vault.clients.swarm.stacks.check import Finding, StackCheck
from vault.clients.swarm.stacks.file import MAX_BYTES, Stack, StackFileError, read
from vault.common.paths import Paths
from vault.common.text import printable, quantity
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.client.secrets import Secrets
from vault.toolkit.client.service import Service
from vault.toolkit.client.variables import is_variable

_STACK_FILE = click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True)


def _variable(text: str) -> tuple[str, str | None]:
    """Return the name of a variable, and its value, which is None if it has none here."""
    name, separator, value = text.partition("=")
    if not is_variable(name):
        raise click.BadParameter("must be NAME or NAME=VALUE, such as TAG or TAG=1.2")
    return name, value if separator else os.environ.get(name)


@click.command("check")
@click.argument("files", metavar="STACKFILE...", type=_STACK_FILE, nargs=-1, required=True)
@click.option(
    "--stack",
    "stack_name",
    metavar="NAME",
    required=True,
    help="The name to deploy under, as of `docker stack deploy`.",
)
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The driver's table of services and their secrets.  [default: labels decide]",
)
@click.option(
    "--env",
    "named",
    metavar="NAME[=VALUE]",
    multiple=True,
    type=_variable,
    help="A variable that the files refer to, by default with its value here. Can be repeated.",
)
@parameters.paths_option("driver's token")
@parameters.driver_option
@service_options
@output_options
def check(
    files: Sequence[str],
    stack_name: str,
    named: Sequence[tuple[str, str | None]],
    policy_file: Path | None,
    paths: Sequence[str],
    driver: str,
    service: Service,
    output: Output,
) -> None:
    """Check the secrets of a stack file.

    Checks labels, policy and paths, and that each secret exists, without reading a value. Several files are
    merged, as `docker stack deploy` does. `-` is standard input. Exits with 1 if there is a problem.

    Variables are replaced only if --env names them.
    """
    variables = dict(named)
    stack = Stack()
    for file in files:
        stack = stack.merged(_read(file, variables))
    stack_check = StackCheck(
        lambda reference: _description(service, reference),
        stack_name=stack_name,
        driver=driver,
        policy=PolicyFile(policy_file) if policy_file else None,
        paths=Paths.of(paths),
    )
    findings = []
    for finding in stack_check.run(stack):
        findings.append(finding)
        output.result(_data(finding), "\n".join(map(printable, _lines(finding))))
    problems = sum(len(finding.problems) for finding in findings)
    checked = sum(finding.is_checked for finding in findings)
    if not checked and not problems:
        raise StackFileError(
            f"no secret has the driver {driver}", hint="set its name with --driver, or correct the files"
        )
    output.text(f"{quantity(checked, 'secret')} checked, {quantity(problems, 'problem')}")
    sys.exit(problems > 0)


def _read(path: str, variables: Mapping[str, str | None]) -> Stack:
    try:
        with click.open_file(path, "rb") as file:
            return read(file.read(MAX_BYTES + 1), variables, os.environ)
    except StackFileError as error:
        name = "standard input" if path == "-" else path
        raise StackFileError(f"{name}: {error.problem}", hint=error.hint) from None


def _description(service: Service, reference: Reference) -> Mapping[str, Any] | None:
    body = {"name": reference.name} if reference.name else {"secret_id": reference.secret_id}
    return Secrets(service).find(body)


def _data(finding: Finding) -> Mapping[str, Any]:
    return {
        "secret": finding.secret,
        "name": finding.name or None,
        "services": list(finding.services),
        "problems": finding.problems,
        "notes": finding.notes,
        "checked": finding.is_checked,
    }


def _lines(finding: Finding) -> Sequence[str]:
    services = ", ".join(finding.services) or "no service"
    is_fine = finding.is_checked and not finding.problems
    fine = [f"ok: {finding.secret}: {finding.name or 'by ID'}, for {services}"] if is_fine else []
    return [
        *fine,
        *(f"problem: {finding.secret}: {problem}" for problem in finding.problems),
        *(f"note: {finding.secret}: {note}" for note in finding.notes),
    ]
