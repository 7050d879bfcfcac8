"""Shares of people on the command line: who gets them, and how they are shown, written and typed in."""

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import click

from vault.common.errors import SharesRefusedError
from vault.core.crypto import shares
from vault.core.crypto.shares import Group
from vault.toolkit.cli.output import Output
from vault.toolkit.client import private_files

Command = TypeVar("Command", bound=Callable[..., Any])

#: More shares than any set has.
_MAX_SHARES = 256

_GROUP = re.compile("([a-z0-9-]{1,32})=([0-9]{1,2})/([0-9]{1,2})")


@dataclass(frozen=True, slots=True)
class Sharing:
    """Who gets the shares of a secret, and where: in a new folder, or on the terminal."""

    #: Each group with its name; a single one has an empty name.
    groups: tuple[tuple[str, Group], ...]
    folder: Path | None

    @property
    def terms(self) -> str:
        """What restores the secret, such as `2 of 3`, or `safe 1 of 1 and people 2 of 3`."""
        return " and ".join(
            f"{name} {group.threshold} of {group.shares}".strip() for name, group in self.groups
        )

    def require_place(self, output: Output) -> None:
        """Require a terminal for shares that are shown, or a folder that can be made for them."""
        if self.folder is None and (output.as_json or not _is_terminal()):
            raise click.UsageError("shares are shown on a terminal only; use --out-dir")
        if self.folder and (self.folder.exists() or not self.folder.parent.is_dir()):
            raise click.UsageError("--out-dir must be a new folder in one that exists")

    def split(self, secret: bytes) -> Sequence[tuple[str, str]]:
        """Return the shares of *secret*, each with its name.

        Raises:
            SharesRefusedError: The numbers do not fit each other.
        """
        made = shares.split(secret, [group for _, group in self.groups], len(self.groups))
        return [
            (f"{name or 'share'}-{number}", text)
            for (name, _), group in zip(self.groups, made, strict=True)
            for number, text in enumerate(group, 1)
        ]

    def hand_out(self, named: Sequence[tuple[str, str]]) -> str:
        """Write the shares into the folder, or show each once; return where they are."""
        if self.folder is None:
            _show(named)
            return "shown"
        _write(self.folder, named)
        return f"in {self.folder}"


def sharing_options(command: Command) -> Command:
    """Add the options for shares to *command*, which gets a `Sharing` as `sharing`, or None without any."""

    @click.option("--threshold", type=int, help="How many shares restore the secret.")
    @click.option("--shares", "count", type=int, help="How many shares there are, at most 16.")
    @click.option(
        "--group",
        "groups",
        metavar="NAME=THRESHOLD/SHARES",
        type=_group,
        multiple=True,
        help="A group, in place of --threshold and --shares. Can be repeated: all groups are needed.",
    )
    @click.option(
        "--out-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="A new folder for the shares, one file each, in place of the terminal.",
    )
    @wraps(command)
    def with_sharing(
        *arguments: Any,
        threshold: int | None,
        count: int | None,
        groups: tuple[tuple[str, Group], ...],
        out_dir: Path | None,
        **options: Any,
    ) -> Any:
        sharing = None
        if threshold or count or groups or out_dir:
            sharing = Sharing(_groups(threshold, count, groups), out_dir)
        return command(*arguments, sharing=sharing, **options)

    return with_sharing  # type: ignore[return-value]


def _group(text: str) -> tuple[str, Group]:
    match = _GROUP.fullmatch(text)
    if not match:
        raise click.BadParameter("must be NAME=THRESHOLD/SHARES, such as people=2/3")
    return match[1], Group(int(match[2]), int(match[3]))


def _groups(
    threshold: int | None, count: int | None, groups: tuple[tuple[str, Group], ...]
) -> tuple[tuple[str, Group], ...]:
    if bool(groups) == bool(threshold and count):
        raise click.UsageError("set either --threshold and --shares, or --group")
    if len({name for name, _ in groups}) != len(groups):
        raise click.UsageError("each --group needs a name of its own")
    return groups or (("", Group(threshold or 0, count or 0)),)


def read_secret(output: Output) -> bytes:
    """Return the secret of the shares on standard input, or those that people type in.

    Raises:
        SharesRefusedError: The shares are damaged, of different sets, or too few.
    """
    if not sys.stdin.isatty():
        lines = (line for line in islice(sys.stdin, _MAX_SHARES) if line.strip())
        return shares.combine(lines)
    given: list[str] = []
    while text := click.prompt(
        f"Share {len(given) + 1}, or nothing to end",
        default="",
        show_default=False,
        hide_input=True,
        err=True,
    ):
        try:
            shares.require_share(len(given) + 1, text)
        except SharesRefusedError as error:
            output.note(f"{error.problem}. Type it again")
        else:
            given.append(text)
    return shares.combine(given)


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _write(folder: Path, named: Sequence[tuple[str, str]]) -> None:
    folder.mkdir(mode=0o700)
    for name, text in named:
        with private_files.replacement(folder / f"{name}.txt", overwrite=False) as file:
            file.write(f"{text}\n".encode())


def _show(named: Sequence[tuple[str, str]]) -> None:
    for number, (name, text) in enumerate(named, 1):
        click.pause(f"Share {number} of {len(named)}, {name}: press a key when only its holder can see this.")
        words = text.split()
        lines = [
            "  ".join(f"{at:2} {word:9}" for at, word in enumerate(words[start : start + 5], start + 1))
            for start in range(0, len(words), 5)
        ]
        click.echo("\n".join(lines))
        click.pause("Press a key when it is written down: it is not shown again.")
        # Also the lines that the terminal has scrolled away.
        click.echo("\033[H\033[2J\033[3J", nl=False)
