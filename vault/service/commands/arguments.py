"""Arguments of operators' commands that have the form of a setting."""

from collections.abc import Callable

import click
from marshmallow import ValidationError


def checked(option: str, check: Callable[[str], None], text: str | None) -> str | None:
    """Return *text*, which *option* has, if *check*, a validator of settings, accepts it."""
    try:
        if text is not None:
            check(text)
    except ValidationError as error:
        raise click.BadParameter(str(error.messages[0]), param_hint=option) from None
    return text
