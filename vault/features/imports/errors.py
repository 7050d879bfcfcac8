"""Errors of imports."""

from vault.common.errors import VaultError
from vault.common.outcomes import Exit


class ImportSourceError(VaultError):
    """The source of an import cannot be read; the message says why, and never contains the token."""


class ImportSourceUnavailableError(ImportSourceError):
    """The source of an import does not answer."""

    kind = "import_source_away"
    exit_code = Exit.UNAVAILABLE


class ImportSourceDeniedError(ImportSourceError):
    """The source of an import does not accept the token."""

    exit_code = Exit.DENIED


class ImportRefusedError(VaultError):
    """A single secret cannot be imported; the message says why."""
