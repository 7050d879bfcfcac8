"""The forms of arguments that several commands take."""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, TypeVar

import click

from vault.common.attributes import ATTRIBUTES, Form
from vault.common.credentials import has_token
from vault.common.durations import parse_duration
from vault.common.labels import are_labels, text_flaw
from vault.common.networks import Network, network
from vault.common.paths import name_flaw, path_flaw, prefix_flaw
from vault.core.principal import MAX_LIFETIME, Scope, is_name
from vault.toolkit.cli.output import Output
from vault.toolkit.client import address
from vault.toolkit.client.secrets import is_id
from vault.toolkit.client.variables import is_variable

Command = TypeVar("Command", bound=Callable[..., Any])

#: The option of the commands that read labels of the driver's secrets.
driver_option = click.option(
    "--driver",
    metavar="NAME",
    default="secret-manager",
    show_default=True,
    help="The name of the driver in stack files.",
)

#: A text file. Bytes that are not UTF-8 are invalid, not an error.
TEXT_FILE = click.File(encoding="utf-8", errors="replace")


def name(text: str) -> str:
    """Return the name of a token, a role, an issuer or a namespace."""
    if not is_name(text):
        raise click.BadParameter(
            "must be up to 64 letters, digits, dots, hyphens and underscores, and no token"
        )
    return text


def name_of_token(text: str) -> str:
    """Return the name of a token that exists."""
    if has_token(text):
        raise click.BadParameter("must be the name of a token, not the token")
    return text


def service_url(text: str) -> str:
    """Return an address of the service, without a slash at its end."""
    try:
        return address.checked(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def listen_address(text: str) -> tuple[str, int]:
    """Return the host and the port of an address to listen at."""
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch("[1-9][0-9]{0,4}", port) or int(port) > 65_535:
        raise click.BadParameter("must be ADDRESS:PORT, such as 127.0.0.1:9465")
    return host.strip("[]"), int(port)


def duration(text: str) -> timedelta:
    """Return a duration: a whole number of seconds, or of the unit that follows it."""
    if not re.fullmatch("[0-9]{1,9}[smhdw]?", text):
        raise click.BadParameter(
            "must be a number of seconds, or one with a unit: s, m, h, d or w, such as 30d"
        )
    with suppress(ValueError):
        length = parse_duration(text)
        if timedelta(seconds=1) <= length <= MAX_LIFETIME:
            return length
    raise click.BadParameter("must be between 1 second and 3650 days")


def time(text: str) -> datetime:
    """Return the time in *text*, in UTC unless it has another offset, or that long ago."""
    if text[-1:] in tuple("smhdw"):
        return datetime.now(UTC) - duration(text)
    try:
        moment = datetime.fromisoformat(text)
        # In UTC, the time may be before year 1 or after 9999, which Python does not support.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (OverflowError, ValueError):
        raise click.BadParameter(
            "must be a time such as 2026-11-24 or 2026-11-24T15:30:00+01:00, or a duration such as 12h"
        ) from None


#: The option for the beginning of a period of the audit trail.
since_option = click.option(
    "--since", metavar="TIME", type=time, help="Only entries from this time on, or since 12h."
)


def secret(text: str) -> str:
    """Return the name or the ID of a secret. The message does not have the text: it may be a value."""
    if not is_id(text) and (flaw := name_flaw(text)):
        raise click.BadParameter(f"must be an ID, or a name such as billing/db-password, which {flaw}")
    return text


def label(text: str) -> tuple[str, str]:
    """Return the key and the text of a label."""
    key, separator, value = text.partition("=")
    if not separator or not are_labels({key: value}):
        raise click.BadParameter("must be KEY=TEXT, such as env=prod")
    return key, value


def label_text(text: str) -> str:
    """Return a text that describes a secret."""
    if flaw := text_flaw(text):
        raise click.BadParameter(flaw)
    return text


def assignment(text: str) -> tuple[str, str]:
    """Return a variable, and the name or ID of its secret."""
    variable, separator, named = text.partition("=")
    if not (separator and is_variable(variable)):
        raise click.BadParameter("must be NAME=SECRET, such as DB_PASSWORD=billing/db-password")
    return variable, secret(named)


def prefix(text: str) -> str:
    """Return a prefix of names of secrets."""
    if flaw := prefix_flaw(text) or ("must not begin with a slash" if text.startswith("/") else ""):
        raise click.BadParameter(f"must be the beginning of names, such as billing/, which {flaw}")
    return text


def note_cut_names(prefixes: Iterable[str], output: Output) -> None:
    """Note *prefixes* that can end within names, so that variables have only the ends of names."""
    for prefix in prefixes:
        if prefix and not prefix.endswith("/"):
            output.note(f"note: {prefix} has no slash at its end, so variables can begin within a name")


def note_joined_names(prefix: str, output: Output) -> None:
    """Note a *prefix* that is put before names, and is not a folder."""
    if prefix and not prefix.endswith("/"):
        output.note(f"note: {prefix} has no slash at its end, so the secret for NAME is {prefix}NAME")


def note_single_names(paths: Iterable[str], output: Output) -> None:
    """Note *paths* that look like folders, and are the names of single secrets."""
    for path in paths:
        if "/" not in path:
            output.note(f"note: {path} is the name of one secret; all names below it are {path}/")


def network_of(text: str) -> Network:
    """Return a network."""
    try:
        return network(text)
    except ValueError:
        raise click.BadParameter("must be a network such as 192.0.2.0/24") from None


def _path(text: str) -> str:
    if flaw := path_flaw(text):
        raise click.BadParameter(
            f"must be a name, or a prefix that ends in a slash, such as billing/, and {flaw}"
        )
    return text


def networks_option(grant: str) -> Callable[[Command], Command]:
    """Return the option for the networks of a new *grant*, a token or a role."""
    return click.option(
        "--network",
        "networks",
        multiple=True,
        metavar="NETWORK",
        type=network_of,
        help=f"A network from which the {grant} is valid, such as 192.0.2.0/24. Can be repeated.  "
        "[default: all]",
    )


def paths_option(grant: str) -> Callable[[Command], Command]:
    """Return the option for the paths of a new *grant*, a token or a role."""
    return click.option(
        "--path",
        "paths",
        multiple=True,
        metavar="PATH",
        type=_path,
        help=f"A name of a secret that the {grant} can reach, or a prefix of names that ends in a slash, "
        "such as billing/. Can be repeated.  [default: all names]",
    )


def namespace_option(help_text: str, **settings: Any) -> Callable[[Command], Command]:
    """Return the option for a namespace."""
    return click.option("--namespace", metavar="NAME", type=name, help=help_text, **settings)


def all_namespaces_option(grant: str) -> Callable[[Command], Command]:
    """Return the option for the reach of `audit:read` of a new *grant*, a token or a role."""
    return click.option(
        "--all-namespaces",
        is_flag=True,
        help=f"The {grant} sees the entries of all namespaces. Outside the namespace default, audit:read "
        "shows only those of its own.",
    )


def scopes_option(grant: str, *, required: bool = False) -> Callable[[Command], Command]:
    """Return the option for the scopes of a new *grant*, a token or a role."""
    return click.option(
        "--scope",
        "scopes",
        multiple=True,
        required=required,
        metavar="SCOPE",
        type=click.Choice([scope.value for scope in Scope]),
        help=f"A scope of the {grant}, such as secret:fetch. Can be repeated.",
    )


def description_options(use: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the options for the attributes of secrets that have this help text, as one *description*."""
    attributes = [one for one in ATTRIBUTES if getattr(one, use)]

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def called(**given: Any) -> Any:
            values = {one.name: given.pop(one.name) for one in attributes}
            # None for no pairs: these are no change.
            description = {
                name: dict(value) or None if isinstance(value, tuple) else value
                for name, value in values.items()
            }
            return command(description=description, **given)

        for one in reversed(attributes):
            called = click.option(f"--{one.option}", one.name, help=getattr(one, use), **_OPTIONS[one.form])(
                called
            )
        return called

    return decorated


_OPTIONS: Mapping[Form, dict[str, Any]] = {
    Form.TEXT: {"metavar": "TEXT", "type": label_text},
    Form.PAIRS: {"metavar": "KEY=TEXT", "type": label, "multiple": True},
}
