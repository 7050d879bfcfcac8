"""The connection of a command to the service: its address, its credential and its trust."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from vault.core.principal import is_name
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import warn
from vault.toolkit.client import address, private_files
from vault.toolkit.client.profile import Profile, load
from vault.toolkit.client.service import LOGIN, Service

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(dir_okay=False, path_type=Path)
_EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

#: The maximum that is read of a token file, which may be the wrong file, or a device without an end.
_MAX_TOKEN_BYTES = 65_536


def _url(text: str) -> str:
    try:
        return parameters.service_url(text)
    except click.BadParameter as error:
        raise click.BadParameter(error.message, param_hint="--url, or VAULT_URL") from None


def _role(text: str) -> str:
    # A role of another namespace than `default` is NAMESPACE/NAME.
    parts = text.split("/")
    if text and (len(parts) > 2 or not all(map(is_name, parts))):
        raise click.BadParameter(
            "must be the name of a role, such as api-main or NAMESPACE/api-main",
            param_hint="--role, or VAULT_ROLE",
        )
    return text


_OPTIONS = (
    click.option(
        "--url",
        metavar="URL",
        type=_url,
        envvar="VAULT_URL",
        help="The service.  [default: VAULT_URL, your login's, or http://localhost:8000]",
    ),
    click.option(
        "--ca-cert",
        metavar="FILE",
        type=_EXISTING_FILE,
        envvar="VAULT_CACERT",
        help="The service's CA in PEM.  [default: VAULT_CACERT, your login's, or the system's]",
    ),
)


def address_options(
    command: Command,
    *,
    otherwise: str = "VAULT_TOKEN, or your login's token",
    role_option: str = "--role",
) -> Command:
    """Give *command* the options of a connection: `url`, `token_file` and `ca_cert`, None if absent.

    Also `jwt_role`, empty if absent, by the option *role_option*. *otherwise* is the help's source of a token
    without `token_file`.
    """
    token_file = click.option(
        "--token-file",
        metavar="FILE",
        type=_FILE,
        help=f"A file with your token.  [default: {otherwise}]",
    )
    role = click.option(
        role_option,
        "jwt_role",
        metavar="NAME",
        type=_role,
        envvar="VAULT_ROLE",
        default="",
        help="The role of a JWT, if it matches several.  [default: VAULT_ROLE]",
    )
    url, ca_cert = _OPTIONS
    return url(token_file(ca_cert(role(command))))


def service_options(command: Command, *, role_option: str = "--role") -> Command:
    """Give *command* the options of its connection and `--receipt`, and pass it the `service`.

    *role_option* is as for `address_options`.
    """

    @partial(address_options, role_option=role_option)
    @click.option(
        "--receipt",
        metavar="FILE",
        type=_FILE,
        help="Append the receipts of what you do to a file.",
    )
    @wraps(command)
    def connected(
        *arguments: Any,
        url: str | None,
        token_file: Path | None,
        ca_cert: Path | None,
        jwt_role: str,
        receipt: Path | None,
        **options: Any,
    ) -> Any:
        with _kept(receipt) if receipt else nullcontext() as on_receipt:
            service = _service(url, token_file, ca_cert, jwt_role, on_receipt)
            return command(*arguments, service=service, **options)

    return connected  # type: ignore[return-value]


@contextmanager
def _kept(path: Path) -> Iterator[Callable[[str], object]]:
    """Yield a function that appends a receipt to the file *path*; warn after a success without any."""
    kept = 0

    def keep(receipt: str) -> None:
        nonlocal kept
        kept += 1
        file.write(f"{receipt}\n")

    with private_files.appended(path) as file:
        yield keep
    if not kept:
        warn("warning: the service sent no receipt")


def read_token(file: Path) -> str:
    """Return the token in *file*, without white space around it.

    Raises:
        BadParameter: The file cannot be read, or has none.
    """
    try:
        with file.open("rb") as opened:
            token = opened.read(_MAX_TOKEN_BYTES).decode("ascii").strip()
    except OSError as error:
        raise click.BadParameter(
            f"{file} cannot be read: {error.strerror}", param_hint="--token-file"
        ) from None
    except ValueError:
        token = ""
    if not token:
        raise click.BadParameter(f"{file} has no token", param_hint="--token-file")
    return token


def connect(
    url: str,
    token: str,
    ca_cert: Path | str | None,
    role: str,
    *,
    credential_hint: str = LOGIN,
    on_receipt: Callable[[str], object] | None = None,
) -> Service:
    """Return the service at *url*, and warn if others can read what is sent to it.

    *credential_hint* and *on_receipt* are as for `Service`.

    Raises:
        BadParameter: One of the arguments cannot be used.
    """
    try:
        service = Service(
            url,
            token,
            role=role,
            ca_file=str(ca_cert) if ca_cert else None,
            credential_hint=credential_hint,
            on_receipt=on_receipt,
        )
    except OSError:
        # An SSLError is one, too.
        raise click.BadParameter("must be a file with certificates in PEM", param_hint="--ca-cert") from None
    except ValueError as error:
        raise click.UsageError(f"The address or the token cannot be used: {error}.") from None
    if not address.is_private(service.url):
        warn(
            "warning: the token and the values travel unencrypted, unless the network encrypts them: use https://"
        )
    return service


def _service(
    url: str | None,
    token_file: Path | None,
    ca_cert: Path | None,
    role: str,
    on_receipt: Callable[[str], object] | None,
) -> Service:
    token = read_token(token_file) if token_file else os.environ.get("VAULT_TOKEN", "").strip()
    login = None if url and token and ca_cert else load()
    profile = login or Profile(address.DEFAULT, "")
    credential_hint = LOGIN
    if url and url != profile.url:
        # A login is for its own service only.
        profile = Profile(url, "")
        if login and not token:
            credential_hint = f"your login is for {login.url}: use that address, or {LOGIN}"
    return connect(
        profile.url,
        token or profile.token,
        ca_cert or profile.ca_cert,
        role,
        credential_hint=credential_hint,
        on_receipt=on_receipt,
    )
