"""The command `secret generate`, and random values."""

import secrets as random
import string
import sys

import click

from vault.cli.shell.output import Output, output_options

#: The characters of generated values, by the name of an alphabet. The first needs no quotes in shells, URLs
#: and files.
ALPHABETS = {
    "alphanumeric": string.ascii_letters + string.digits,
    "digits": string.digits,
    "hex": string.digits + "abcdef",
    "symbols": string.ascii_letters + string.digits + "!#%&()*+,-./:;<=>?@[]^_{|}~",
}
_DEFAULT = "alphanumeric"

LENGTH = click.IntRange(8, 1_024)


@click.command
@click.option(
    "--length", metavar="N", type=LENGTH, default=32, show_default=True, help="The number of characters."
)
@click.option(
    "--alphabet",
    type=click.Choice(list(ALPHABETS)),
    default=_DEFAULT,
    show_default=True,
    help="The characters to choose from; symbols has letters and digits, too.",
)
@output_options
def generate(length: int, alphabet: str, output: Output) -> None:
    """Print a random value, and store it nowhere.

    Needs no service. On a terminal, a newline follows.
    """
    value = random_text(length, alphabet)
    if output.as_json:
        output.result({"value": value}, "")
    else:
        click.echo(value, nl=sys.stdout.isatty())


def random_text(length: int, alphabet: str = _DEFAULT) -> str:
    """Return *length* random characters of the alphabet with this name."""
    return "".join(random.choice(ALPHABETS[alphabet]) for _ in range(length))
