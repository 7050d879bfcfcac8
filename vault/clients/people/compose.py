"""The commands `compose …`: secrets for a Compose file, by Compose's protocol for providers."""

import json
from typing import Any

import click

from vault.clients.people.selection import selected, selection_options
from vault.common.errors import ProgramError, VaultError
from vault.common.text import decoded
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.exits import reason
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.client.secrets import Secrets
from vault.toolkit.client.service import Service

#: Options that mean nothing in a Compose file.
_OF_PEOPLE = {"as_json", "quiet", "receipt"}

#: Compose takes JSON, one object a line.
_MESSAGES = Output(as_json=True)


class _Provider(click.Group):
    """A group whose failures Compose shows, too."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command of *ctx*."""
        try:
            return super().invoke(ctx)
        except (VaultError, click.ClickException) as error:
            # Compose, which alone names a project, shows nothing of standard error.
            if ctx.params["project_name"]:
                _say("error", reason(error))
            raise


def _say(kind: str, message: str) -> None:
    """Send a message of this *kind* to Compose."""
    _MESSAGES.result({"type": kind, "message": message}, "")


@click.group(cls=_Provider)
@click.option("--project-name", metavar="NAME", default="", help="The project, as Compose names it.")
def compose(project_name: str) -> None:
    """Give services of a Compose file their secrets.

    Compose runs this for a service with `provider: {type: secret-manager}`, see docs/install-compose.md.
    """


@compose.command
@click.argument("name", metavar="SERVICE")
@selection_options
@click.option(
    "--raw",
    metavar="BOOLEAN",
    type=click.BOOL,
    default=False,
    help="true: do not put the name of this service before variables. Requires a newer Compose.",
)
@service_options
@output_options
def up(
    name: str,
    single: tuple[tuple[str, str], ...],
    prefixes: tuple[str, ...],
    raw: bool,
    service: Service,
    output: Output,
) -> None:
    """Set variables of the services that depend on SERVICE."""
    found = selected(single, prefixes, output).fetch(Secrets(service))
    texts = {variable: _text(variable, one.value) for variable, one in found.items()}
    for variable, text in texts.items():
        _say("rawsetenv" if raw else "setenv", f"{variable}={text}")
    _say("debug", f"{name} has {', '.join(texts)}")


@compose.command
@click.argument("name", metavar="SERVICE")
@output_options
def down(name: str, output: Output) -> None:
    """Release SERVICE, of which nothing is left."""


@compose.command
@output_options
def metadata(output: Output) -> None:
    """Describe the options of a Compose file, in JSON."""
    options = [one for one in up.params if isinstance(one, click.Option) and one.name not in _OF_PEOPLE]
    described = [
        {
            "name": one.opts[0].removeprefix("--"),
            "description": one.help,
            "required": False,
            "type": "boolean" if one.type is click.BOOL else "string",
        }
        for one in options
    ]
    description = compose.get_short_help_str(limit=100)
    found = {"description": description, "up": {"parameters": described}, "down": {"parameters": []}}
    output.result(found, json.dumps(found))


def _text(variable: str, value: bytes) -> str:
    """Return the *value* of a *variable*.

    Raises:
        ProgramError: It cannot be one.
    """
    text = decoded(value)
    if text is None:
        raise ProgramError(f"the value for {variable} is not UTF-8 without NUL bytes, as a variable must be")
    return text
