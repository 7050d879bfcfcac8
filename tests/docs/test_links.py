"""Files and commands that documents name exist. mkdocs checks the links in docs/."""

import re
import shlex
from collections.abc import Iterator

import click

from tests.docs.documents import DOCUMENTS, ROOT, anchors, blocks, prose
from vault.cli import commands

_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
#: Paths as documents name them: in this checkout, by their beginning.
_PATH = re.compile(r"(?<![\w./-])(?:docs|loadtest|requirements|scripts|tests|vault)/[\w./-]*\w")
#: Files that commands or the reader create.
_MADE = {"path/to/scripts/run_command.sh"}


def test_links_resolve() -> None:
    """Each link of the top's documents names an existing file, and an existing heading in it."""
    top = [document for document in DOCUMENTS if "/" not in document]
    links = [(document, target) for document in top for target in _LINK.findall(prose(DOCUMENTS[document]))]
    for document, target in links:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = ((ROOT / document).parent / path).resolve() if path else ROOT / document
        assert found.exists(), (document, target)
        if anchor:
            assert anchor in anchors(found.relative_to(ROOT).as_posix()), (document, target)


def of_today(document: str) -> bool:
    """Return whether *document* describes the present, not the past or an alternative."""
    return not document.startswith(("CHANGELOG", "docs/decisions/"))


def test_paths_exist() -> None:
    """Each file of the checkout that a document names in its text or commands exists."""
    for document in filter(of_today, DOCUMENTS):
        for path in set(_PATH.findall(DOCUMENTS[document])) - _MADE:
            assert (ROOT / path).exists(), (document, path)


def invocations(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each `secret-manager` that *text* runs."""
    # Compose's service has the command's name.
    text = re.sub(r"docker compose exec (-T )?secret-manager", "", text)
    for line in text.replace("\\\n", " ").splitlines():
        for found in re.findall(r"(?<![\w:./-])secret-manager ([a-z][^|&;>#`)\n]*)", line):
            yield shlex.split(found.replace("'", " ").replace('"', " "))


def test_commands_exist() -> None:
    """Each command and option of `secret-manager` that a document names exists."""
    for document in DOCUMENTS:
        text = prose(DOCUMENTS[document])
        named = [*(block.text for block in blocks(document, "bash")), *re.findall(r"`([^`]+)`", text)]
        for arguments in (run for one in named for run in invocations(one)):
            require_command(arguments)


def require_command(arguments: list[str]) -> None:
    """Require that the command and the options in *arguments* exist."""
    command: click.Command = commands
    for argument in arguments:
        # What follows is a variable, or the command of a program.
        if argument.startswith("$") or argument == "--":
            break
        if isinstance(command, click.Group) and not argument.startswith("-"):
            found = command.get_command(click.Context(command), argument)
            # `backup FILE` is a command, and `backup schedule` is in it.
            assert found or command.invoke_without_command, arguments
            command = found or command
        if argument.startswith("--"):
            options = {
                name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]
            }
            assert argument.partition("=")[0] in options | {"--help", "--version"}, arguments
