"""Environment variables: their form, and their names from those of secrets."""

import re

from vault.core.errors import ProgramError

#: The form of a name that every shell takes.
_FORM = re.compile("[A-Za-z_][A-Za-z0-9_]*")

#: Variables that decide what a program loads. Anyone who may name a secret must not decide that.
_LOADING = re.compile("LD_.*|PATH|IFS|ENV|BASH_ENV|PYTHON.*|PERL5.*|RUBY.*|NODE_OPTIONS")


def is_variable(text: str) -> bool:
    """Return whether *text* can be the name of a variable."""
    return _FORM.fullmatch(text) is not None


def variable_of(name: str, prefix: str) -> str:
    """Return the variable for the secret *name* below *prefix*: `DB_PASSWORD` for `app/db-password`.

    Raises:
        ProgramError: It has no variable.
    """
    found = re.sub("[^A-Z0-9_]", "_", name.removeprefix(prefix).upper())
    if not is_variable(found):
        raise ProgramError(
            f"{name} gives no name of a variable", hint=f"name it yourself, with --env NAME={name}"
        )
    if _LOADING.fullmatch(found):
        raise ProgramError(f"{name} would set {found}, which decides what a program loads", hint="rename it")
    return found
