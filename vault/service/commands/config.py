"""The command `config check`: find out what is wrong with the settings before the service has them."""

import os
import sys
from collections import Counter
from dataclasses import asdict
from typing import TextIO

import click

from vault.common.config.dotenv import dotenv_content, flaws, parsed
from vault.common.errors import SettingsError
from vault.common.outcomes import Exit
from vault.service.commands.findings import Finding, Result, Variables, checked, online
from vault.toolkit.cli.lazy_group import LazyGroup
from vault.toolkit.cli.output import Output, output_options

#: The exit code after warnings alone, as of `audit verify`.
_WARNED = 3


@click.group(cls=LazyGroup, functions={}, words="config")
def config() -> None:
    """Check the settings of the service."""


@config.command()
@click.option(
    "--env-file",
    metavar="FILE",
    type=click.File(encoding="utf-8"),
    help="A file of variables in place of .env; - is standard input. The environment precedes it, too.",
)
@click.option("--no-files", is_flag=True, help="Accept names of files that are not on this machine.")
@click.option("--online", "is_online", is_flag=True, help="Also ask MongoDB, with these settings.")
@output_options
def check(output: Output, env_file: TextIO | None, no_files: bool, is_online: bool) -> None:
    """Check all settings at once, without MongoDB.

    Names each wrong or contradictory setting, and each variable that is almost the name of one. The settings
    are those that the service would have here: of the environment, or else of .env.

    With --online, also checks the connection to MongoDB, the privileges of the user, the clock, and the
    master keys. Nothing is written.

    Exits with 1 if the service would not start or serve, and with 3 after warnings alone.
    """
    if is_online and no_files:
        raise click.UsageError("With --online, the files are needed.")
    environment, dotenv, found = _read(env_file) if env_file else _read_dotenv()
    settings, of_settings = checked(environment, dotenv, has_files=not no_files)
    found += of_settings
    if settings and is_online:
        found += online(settings)
    if not any(one.result is Result.WRONG for one in found):
        found.append(Finding(Result.OK, "the service would start with these settings"))
    _show(output, found)


def _read(env_file: TextIO) -> tuple[Variables, Variables, list[Finding]]:
    """Return the variables of a process with *env_file*, none of `.env`, and the flaws of the file."""
    content = env_file.read()
    sources = (parsed(content), os.environ)
    variables = {name: value for source in sources for name, value in source.items() if value}
    return variables, {}, [Finding(Result.WRONG, flaw) for flaw in flaws(content)]


def _read_dotenv() -> tuple[Variables, Variables, list[Finding]]:
    """Return the variables of this process and of `.env`, and the flaws of that file."""
    try:
        content = dotenv_content()
    except SettingsError as error:
        found = [Finding(Result.WRONG, reason, name) for name, reason in error.invalid.items()]
        return os.environ, {}, found
    variables = {name: value for name, value in parsed(content).items() if value}
    # The service starts without such a line.
    return os.environ, variables, [Finding(Result.WARNING, flaw, ".env") for flaw in flaws(content)]


def _show(output: Output, found: list[Finding]) -> None:
    """Print what was *found*, and exit."""
    for one in found:
        about = f"{one.setting}: " if one.setting else ""
        output.result(asdict(one), f"{one.result:9}{about}{one.text}")
    counts = Counter(one.result for one in found)
    if counts[Result.WRONG]:
        sys.exit(Exit.FAILED)
    sys.exit(_WARNED if counts[Result.WARNING] else Exit.DONE)
