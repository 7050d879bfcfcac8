"""Write the manual pages and completions of `secret-manager`: python scripts/manual.py FOLDER."""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from os import environ
from pathlib import Path

import click

from vault import __version__
from vault.cli import commands
from vault.toolkit.cli.completion import script

#: Where each shell looks for the completion of a command, below a folder such as /usr/share.
_COMPLETIONS = {
    "bash": "bash-completion/completions/secret-manager",
    "fish": "fish/vendor_completions.d/secret-manager.fish",
    "zsh": "zsh/site-functions/_secret-manager",
}


def _text(text: str) -> str:
    """Return *text* for roff: its first characters, hyphens and backslashes have no other meaning there."""
    return re.sub(r"^(?=[.'])", r"\\&", text.replace("\\", "\\e").replace("-", "\\-"), flags=re.MULTILINE)


def _paragraph(text: str) -> str:
    """Return a paragraph of *text*, with its line breaks if click's mark is before it."""
    table = text.removeprefix("\b\n")
    return f"{_text(text)}\n" if table == text else f".nf\n{_text(table)}\n.fi\n"


def _path(context: click.Context) -> str:
    """Return the words of the command of *context*, without the arguments that one in between takes, too."""
    return f"{_path(context.parent) if context.parent else ''} {context.info_name}".strip()


def _page(context: click.Context, date: str) -> Iterator[str]:
    """Yield the lines of the page about the command of *context*."""
    command, name = context.command, _path(context)
    yield f'.TH "{name.replace(" ", "-").upper()}" 1 {date} "secret-manager {__version__}" "Secret Manager"'
    yield f".SH NAME\n{_text(name.replace(' ', '-'))} \\- {_text(command.get_short_help_str(200))}"
    yield f".SH SYNOPSIS\n.B {_text(name)}\n{_text(' '.join(command.collect_usage_pieces(context)))}"
    yield ".SH DESCRIPTION\n" + ".PP\n".join(map(_paragraph, (command.help or "").split("\n\n")))
    records = [
        record
        for one in command.get_params(context)
        if (record := one.get_help_record(context)) and record[1]
    ]
    yield ".SH OPTIONS\n" + "\n".join(f".TP\n.B {_text(form)}\n{_text(what)}" for form, what in records)
    listed = _commands(context)
    if listed:
        yield ".SH COMMANDS"
        for child in listed:
            summary = _text(child.command.get_short_help_str(200))
            yield f".TP\n.BR {_text(_path(child).replace(' ', '-'))} (1)\n{summary}"
    if context.parent:
        yield f".SH SEE ALSO\n.BR {_text(_path(context.parent).replace(' ', '-'))} (1)"


def _commands(context: click.Context) -> list[click.Context]:
    """Return a context for each command in a group; none for another command."""
    group = context.command
    if not isinstance(group, click.Group):
        return []
    found = [(name, group.get_command(context, name)) for name in group.list_commands(context)]
    return [
        click.Context(one, context, name, **one.context_settings)
        for name, one in found
        if one and not one.hidden
    ]


def _write_pages(context: click.Context, folder: Path, date: str) -> None:
    page = "\n".join(_page(context, date)) + "\n"
    (folder / f"{_path(context).replace(' ', '-')}.1").write_text(page, encoding="utf-8")
    for child in _commands(context):
        _write_pages(child, folder, date)


def write(folder: Path) -> None:
    """Write all pages and completions below *folder*, dated by `SOURCE_DATE_EPOCH`."""
    date = datetime.fromtimestamp(int(environ["SOURCE_DATE_EPOCH"]), UTC).date().isoformat()
    (folder / "man/man1").mkdir(parents=True)
    _write_pages(
        click.Context(commands, info_name="secret-manager", **commands.context_settings),
        folder / "man/man1",
        date,
    )
    for shell, path in _COMPLETIONS.items():
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_text(script(shell), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
