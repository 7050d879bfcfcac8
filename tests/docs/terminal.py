"""A terminal with a shell in it, and a picture of what it shows."""

import os
import select
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path

PROMPT = "$ "

_TIMEOUT_SECONDS = 120
_LINE_HEIGHT, _CHARACTER_WIDTH, _MARGIN = 18, 7.85, 16


class Terminal:
    """A shell at a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        #: Everything that it has shown.
        self.shown = ""

    def wait_for(self, text: str) -> str:
        """Return what is shown until *text* is."""
        start, end = len(self.shown), time.monotonic() + _TIMEOUT_SECONDS
        while text not in self.shown[start:]:
            assert time.monotonic() < end, self.shown
            if select.select([self._descriptor], [], [], 1)[0]:
                self.shown += os.read(self._descriptor, 65_536).decode().replace("\r\n", "\n")
        return self.shown[start:]

    def type(self, text: str) -> None:
        """Type *text*, and the key Enter."""
        os.write(self._descriptor, text.encode() + b"\n")

    def run(self, command: str) -> str:
        """Return what a *command* without questions shows."""
        self.type(command)
        return self.wait_for("\n" + PROMPT)


@contextmanager
def terminal(folder: Path, environment: Mapping[str, str]) -> Iterator[Terminal]:
    """Run bash in *folder*; it keeps its history in the file `history`."""
    master, slave = os.openpty()
    settings = {"PS1": PROMPT, "TERM": "dumb", "HISTFILE": str(folder / "history"), "COLUMNS": "100"}
    # With the terminal as its own, for hidden prompts.
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", "bash", "--norc", "--noediting", "-i"],
        cwd=folder,
        env={**environment, **settings},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    try:
        shell = Terminal(master)
        shell.wait_for(PROMPT)
        yield shell
        shell.type("exit")
        assert process.wait(_TIMEOUT_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)


def picture(transcript: str) -> str:
    """Return *transcript* as an SVG image without scripts, styles and fonts from elsewhere."""
    lines = transcript.rstrip().splitlines()
    width = round(max(map(len, lines)) * _CHARACTER_WIDTH) + 2 * _MARGIN
    height = len(lines) * _LINE_HEIGHT + 2 * _MARGIN
    # Browsers do not inherit `xml:space`.
    rows = [
        f'<text xml:space="preserve" x="{_MARGIN}" y="{_MARGIN + 13 + number * _LINE_HEIGHT}" '
        f'fill="{"#7ee787" if line.startswith(PROMPT) else "#e6edf3"}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" '
        'font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13">\n'
        "<title>A secret is stored, read and used on the command line</title>\n"
        f'<rect width="{width}" height="{height}" rx="8" fill="#0d1117"/>\n' + "\n".join(rows) + "\n</svg>\n"
    )
