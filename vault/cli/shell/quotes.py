"""The arguments that errors quote: none that could be a value or a credential."""

import re

import click

#: click's messages that quote the value of an option, and the rule in each of them.
_QUOTED_VALUES = {
    re.compile(r".* is not one of (.*)", re.DOTALL): r"must be one of \1",
    re.compile(r".* is not a valid integer.*", re.DOTALL): "must be a whole number",
    re.compile(r".* is not in the range (.*)", re.DOTALL): r"must be in the range \1",
}

#: The form of options. Other arguments that begin with a hyphen may be values.
_OPTION = re.compile("--?[a-z]+(?:-[a-z]+)*")


def usage_problem(error: click.UsageError) -> str:
    """Return the problem of *error*, without arguments that no command expects: these may be values.

    A name is quoted if a similar one exists, and so are the names of files.
    """
    match error:
        case click.exceptions.NoSuchCommand():
            return error.message if error.possibilities else "No such command."
        case click.NoSuchOption():
            is_quoted = error.possibilities or _OPTION.fullmatch(error.option_name)
            return error.message if is_quoted else "No such option."
        case click.MissingParameter():
            # click prints each choice on a line of its own.
            return " ".join(error.format_message().split())
        case click.BadParameter():
            plain = error.message
            for quoted, rule in _QUOTED_VALUES.items():
                plain = quoted.sub(rule, plain)
            return error.format_message().removesuffix(error.message) + plain
        case _:
            # The arguments that are left over follow in parentheses.
            unexpected = re.match(r"Got unexpected extra arguments?(?= \()", error.message)
            return f"{unexpected[0]}." if unexpected else error.format_message()
