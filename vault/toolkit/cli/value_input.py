"""Values that a command takes from a person, a file or standard input, or generates."""

import secrets as random
import string
import sys
from pathlib import Path

import click

from vault.common.errors import VaultError
from vault.toolkit.cli.output import Output
from vault.toolkit.client.secrets import MAX_VALUE_BYTES

#: Standard input or output, in place of a file.
STANDARD = Path("-")

#: The characters of generated values, by the name of an alphabet. The first needs no quotes in shells, URLs
#: and files.
ALPHABETS = {
    "alphanumeric": string.ascii_letters + string.digits,
    "digits": string.digits,
    "hex": string.digits + "abcdef",
    "symbols": string.ascii_letters + string.digits + "!#%&()*+,-./:;<=>?@[]^_{|}~",
}
DEFAULT_ALPHABET = "alphanumeric"

LENGTH = click.IntRange(8, 1_024)


def random_text(length: int, alphabet: str = DEFAULT_ALPHABET) -> str:
    """Return *length* random characters of the alphabet with this name."""
    return "".join(random.choice(ALPHABETS[alphabet]) for _ in range(length))


def new_value(secret: str, from_file: Path | None, generate: int | None, output: Output) -> bytes:
    """Return a value for *secret*: random, or from a file, a hidden prompt or standard input.

    Raises:
        VaultError: It is empty or too long.
        OSError: The file cannot be read.
    """
    if generate:
        return random_text(generate).encode()
    if from_file == STANDARD:
        value = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
    elif from_file:
        with from_file.open("rb") as file:
            value = file.read(MAX_VALUE_BYTES + 1)
    elif sys.stdin.isatty():
        value = typed(f"Value of {secret}")
    else:
        value = sys.stdin.buffer.read(MAX_VALUE_BYTES + 1)
        if value.endswith(b"\n"):
            output.note("note: the value ends with a newline, which is part of it; printf sends none")
    if not value:
        raise VaultError("there is no value", hint="send one to standard input, or use --generate")
    require_size(value)
    return value


def require_size(value: bytes) -> None:
    """Require that *value* is no longer than the service stores."""
    if len(value) > MAX_VALUE_BYTES:
        raise VaultError(f"the value has more than {MAX_VALUE_BYTES} bytes", hint="store a key to it instead")


def typed(label: str) -> bytes:
    """Return a text that the user types twice; empty if it is empty."""
    # With a default, an empty text does not repeat the question.
    texts = []
    for question in (label, "The same again"):
        texts.append(click.prompt(question, default="", show_default=False, hide_input=True, err=True))
        if not texts[0]:
            break
    if len(set(texts)) > 1:
        raise VaultError("the two values differ, so nothing was stored", hint="run the command again")
    return str(texts[0]).encode()
