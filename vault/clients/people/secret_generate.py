"""The command `secret generate`."""

import sys

import click

from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.cli.value_input import ALPHABETS, DEFAULT_ALPHABET, LENGTH, random_text


@click.command
@click.option(
    "--length", metavar="N", type=LENGTH, default=32, show_default=True, help="The number of characters."
)
@click.option(
    "--alphabet",
    type=click.Choice(list(ALPHABETS)),
    default=DEFAULT_ALPHABET,
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
