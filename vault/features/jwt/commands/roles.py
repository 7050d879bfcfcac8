"""The commands `roles …`: create, list, delete and test roles for JWTs."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from typing import TextIO

import click

from vault.common.networks import Network
from vault.common.paths import MAX_PATHS, Paths
from vault.core.attempt import Action
from vault.core.principal import scopes_named
from vault.features.jwt.claims import (
    MAX_ASTERISKS,
    MAX_CONDITIONS,
    MAX_TOTAL_BYTES,
    MAX_VALUE_LENGTH,
    are_small,
    is_key,
)
from vault.features.jwt.commands.issuers import jwt_option, print_findings
from vault.features.jwt.roles import MAX_AGE, NewRole, Roles
from vault.service.commands.context import operator_attempt
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Column, Output, Row, output_options
from vault.toolkit.cli.token_options import scopes_cell


def _conditions(role: Row) -> list[str]:
    exact = (f"{key}={value}" for key, value in role["claims"].items())
    globs = (f"{key}~{pattern}" for key, pattern in role["claim_globs"].items())
    return [*exact, *globs]


def _max_age(role: Row) -> timedelta | None:
    return timedelta(seconds=role["max_age"]) if role["max_age"] else None


_COLUMNS: Mapping[str, Column] = {
    **{name: name for name in ("name", "state", "namespace", "issuer")},
    "claims": _conditions,
    "scopes": scopes_cell,
    **{name: name for name in ("paths", "networks")},
    "max age": _max_age,
    "expires": "expires_at",
}


def _condition(text: str) -> str:
    key, separator, value = text.partition("=")
    if not (separator and is_key(key) and 0 < len(value) <= MAX_VALUE_LENGTH and value.isprintable()):
        raise click.BadParameter(
            "must be KEY=VALUE; the key is a claim, or a path to one such as /kubernetes.io/namespace, "
            "except iss, aud, exp, nbf, iat and jti"
        )
    return text


def _age(text: str) -> timedelta:
    found = parameters.duration(text)
    if found > MAX_AGE:
        raise click.BadParameter("must be at most 24h")
    return found


@click.group()
def roles() -> None:
    """Create, list, delete and test roles for JWTs."""


@roles.command()
@click.argument("name", type=parameters.name)
@click.option(
    "--issuer",
    metavar="NAME",
    type=parameters.name,
    required=True,
    help="The issuer of its JWTs; `default` is the one in the settings.",
)
@click.option(
    "--claim",
    "claims",
    multiple=True,
    metavar="KEY=VALUE",
    type=_condition,
    help="A claim that a JWT must have, with exactly this value. Can be repeated.",
)
@click.option(
    "--claim-glob",
    "claim_globs",
    multiple=True,
    metavar="KEY=PATTERN",
    type=_condition,
    help="The same, with * for any characters, including slashes. Can be repeated.",
)
@parameters.scopes_option("role", required=True)
@parameters.paths_option("role")
@parameters.all_namespaces_option("role")
@parameters.namespace_option("The role's namespace.  [default: default]")
@parameters.networks_option("role")
@click.option(
    "--max-age",
    metavar="DURATION",
    type=_age,
    default="24h",
    help="The longest age of a JWT, such as 1h, by its claim iat.  [default: 24h, which is the maximum]",
)
@output_options
def create(
    output: Output,
    name: str,
    issuer: str,
    claims: tuple[str, ...],
    claim_globs: tuple[str, ...],
    scopes: tuple[str, ...],
    paths: tuple[str, ...],
    all_namespaces: bool,
    namespace: str | None,
    networks: tuple[Network, ...],
    max_age: timedelta,
) -> None:
    """Create the role NAME for JWTs.

    It accepts a JWT that satisfies all conditions on its claims. Takes effect on every replica within 5
    seconds.
    """
    for option, limit, given in (
        ("--path", MAX_PATHS, paths),
        ("--claim", MAX_CONDITIONS, claims),
        ("--claim-glob", MAX_CONDITIONS, claim_globs),
    ):
        if len(given) > limit:
            raise click.UsageError(f"Add {option} at most {limit} times.")
    for option, conditions in (("--claim", claims), ("--claim-glob", claim_globs)):
        keys = [condition.partition("=")[0] for condition in conditions]
        if len(set(keys)) < len(keys):
            raise click.UsageError(f"Each claim can have one {option}; for alternatives, create more roles.")
    if not are_small(claims, claim_globs):
        raise click.UsageError(
            f"Conditions can have {MAX_TOTAL_BYTES} bytes together, and a glob {MAX_ASTERISKS} asterisks."
        )
    parameters.note_single_names(paths, output)
    new = NewRole(
        name=name,
        issuer=issuer,
        claims=claims,
        claim_globs=claim_globs,
        scopes=scopes_named(scopes),
        namespace=namespace,
        paths=Paths.of(paths),
        all_namespaces=all_namespaces,
        networks=networks,
        max_age=max_age,
    )
    with operator_attempt(output, Action.ROLE_CREATE) as (parts, attempt):
        parts.of(Roles).create(new, attempt=attempt)
    output.result({"name": name, "state": "created"}, f"created: {name}")


@roles.command("list")
@output_options
def list_roles(output: Output) -> None:
    """List all roles."""
    with operator_attempt(output, Action.ROLE_LIST) as (parts, attempt):
        found = parts.of(Roles).list(attempt=attempt)
    output.table(_COLUMNS, map(asdict, found))


@roles.command()
@click.argument("name", type=parameters.name)
@parameters.namespace_option("The role's namespace.  [default: default]")
@output_options
def delete(output: Output, name: str, namespace: str | None) -> None:
    """Delete the role NAME.

    Takes effect on every replica within 5 seconds.
    """
    with operator_attempt(output, Action.ROLE_DELETE) as (parts, attempt):
        parts.of(Roles).delete(name, namespace=namespace, attempt=attempt)
    output.result({"name": name, "state": "deleted"}, f"deleted: {name}")


@roles.command("test")
@jwt_option
@click.option("--role", metavar="NAME", default="", help="The role that the JWT's sender names in X-Role.")
@output_options
def test_role(output: Output, file: TextIO, role: str) -> None:
    """Explain whether the service accepts a JWT.

    Shows its issuer, and for each role whether it matches. Reads the JWT from standard input. Exits with 1 if
    the service would refuse it. Networks are not checked.
    """
    print_findings(output, file, role)
