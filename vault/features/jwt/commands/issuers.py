"""The commands `issuers …`: create, list, delete and test issuers of JWTs."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TextIO

import click

from vault.common.config import validators as forms
from vault.common.outcomes import Exit, Status
from vault.common.text import printable
from vault.core.attempt import Action
from vault.core.principal import Principal
from vault.features.jwt.claims import MAX_VALUE_LENGTH
from vault.features.jwt.credentials import JWTCredentials
from vault.features.jwt.issuers import Issuers, NewIssuer
from vault.features.jwt.verification import ALGORITHMS
from vault.service.commands.arguments import checked
from vault.service.commands.context import operator_attempt
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Column, Output, cell, output_options

_COLUMNS: Mapping[str, Column] = {
    **{name: name for name in ("name", "state", "issuer", "audience")},
    "keys": lambda issuer: issuer["jwks_url"] or ("public key" if issuer["public_key"] else ""),
    "algorithms": "algorithms",
    "created": "created_at",
    "by": "created_by",
}

#: The option for the JWT that a command explains.
jwt_option = click.option(
    "--file", type=parameters.TEXT_FILE, default="-", help="A file with the JWT.  [default: standard input]"
)


def _claim(text: str) -> str:
    if not (0 < len(text) <= MAX_VALUE_LENGTH and text.isprintable()):
        raise click.BadParameter(f"must have 1 to {MAX_VALUE_LENGTH} characters, all of them printable")
    return text


class _Aliases(click.Group):
    """A group that accepts `add` for `create`."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, if there is one."""
        return super().get_command(ctx, "create" if cmd_name == "add" else cmd_name)


@click.group(cls=_Aliases)
def issuers() -> None:
    """Create, list, delete and test issuers of JWTs."""


@issuers.command()
@click.argument("name", type=parameters.name)
@click.option("--issuer", metavar="ISS", type=_claim, required=True, help="The claim `iss` of its JWTs.")
@click.option("--audience", metavar="AUD", type=_claim, required=True, help="The claim `aud` of its JWTs.")
@click.option("--jwks-url", metavar="URL", help="The URL of its key set.")
@click.option(
    "--public-key", metavar="FILE", type=parameters.TEXT_FILE, help="A file with its public key in PEM."
)
@click.option(
    "--algorithm",
    "algorithms",
    multiple=True,
    type=click.Choice(ALGORITHMS),
    help="A signature that it makes. Can be repeated.  [default: all that fit its keys]",
)
@output_options
def create(
    output: Output,
    name: str,
    issuer: str,
    audience: str,
    jwks_url: str | None,
    public_key: TextIO | None,
    algorithms: tuple[str, ...],
) -> None:
    """Trust the issuer NAME. Its JWTs act through roles.

    Takes effect on every replica within 5 seconds. `add` is another name of this command.
    """
    if (jwks_url is None) == (public_key is None):
        raise click.UsageError("Add either --jwks-url or --public-key.")
    new = NewIssuer(
        name=name,
        issuer=issuer,
        audience=audience,
        jwks_url=checked("--jwks-url", forms.public_url, jwks_url),
        public_key=checked("--public-key", forms.public_key, public_key.read() if public_key else None),
        algorithms=algorithms,
    )
    if not set(algorithms) <= set(new.fitting_algorithms()):
        raise click.UsageError("--algorithm does not fit --public-key.")
    with operator_attempt(output, Action.ISSUER_CREATE) as (parts, attempt):
        parts.of(Issuers).create(new, attempt=attempt)
    output.result({"name": name, "state": "created"}, f"created: {name}")


@issuers.command("list")
@output_options
def list_issuers(output: Output) -> None:
    """List all issuers."""
    with operator_attempt(output, Action.ISSUER_LIST) as (parts, attempt):
        found = parts.of(Issuers).list(attempt=attempt)
    output.table(_COLUMNS, map(asdict, found))


@issuers.command()
@click.argument("name", type=parameters.name)
@click.option("--force", is_flag=True, help="Delete it even if it has roles, which are then orphaned.")
@output_options
def delete(output: Output, name: str, force: bool) -> None:
    """Delete the issuer NAME.

    It must have no roles, unless --force is given. Takes effect on every replica within 5 seconds.
    """
    with operator_attempt(output, Action.ISSUER_DELETE) as (parts, attempt):
        parts.of(Issuers).delete(name, force=force, attempt=attempt)
    output.result({"name": name, "state": "deleted"}, f"deleted: {name}")


@issuers.command("test")
@jwt_option
@output_options
def test_issuer(output: Output, file: TextIO) -> None:
    """Show which issuer verifies a JWT.

    Also shows what a role does with it. Reads the JWT from standard input. Exits with 1 if the service would
    refuse it.
    """
    print_findings(output, file)


def print_findings(output: Output, file: TextIO, role: str = "") -> None:
    """Print what the service finds about the JWT in *file*, for the *role* of this name if one is given."""
    credential = file.read().strip()
    with operator_attempt(output, Action.ROLE_TEST) as (parts, attempt):
        found = list(parts.of(JWTCredentials).explain(credential, role))
        attempt.details["result"] = found[-1].text
        attempt.finish(Status.SUCCESS)
    findings = [f"{finding.part}: {finding.text}" for finding in found]
    principal = found[-1].principal
    rights = _rights(principal) if principal else {}
    output.result(
        {"accepted": principal is not None, "findings": findings} | rights,
        "\n".join(map(printable, [*findings, *(f"{name}: {_right(name, rights)}" for name in rights)])),
    )
    raise SystemExit(Exit.DONE if principal else Exit.FAILED)


def _rights(principal: Principal) -> dict[str, Any]:
    return {
        "principal": principal.name,
        "role": principal.role,
        "namespace": principal.namespace,
        "scopes": sorted(principal.scopes),
        "paths": list(principal.paths.texts),
        "networks": list(map(str, principal.networks)),
        "expires": principal.expires_at,
    }


def _right(name: str, rights: Mapping[str, Any]) -> str:
    """Return the right of this *name* for people: without paths or networks, it is not limited."""
    return cell(rights[name] or ("all" if name in ("paths", "networks") else ""))
