"""The errors of custody. No message has key material, a credential or a share."""

from vault.common.errors import VaultError
from vault.common.outcomes import Exit


class CustodyUnavailableError(VaultError):
    """A provider does not answer now; a retry can succeed."""

    exit_code = Exit.UNAVAILABLE


class CustodyRefusedError(VaultError):
    """A provider, or a check of its reply, refused; a retry can only do harm, as PINs and TPMs lock."""


class KeyringFileError(VaultError):
    """The keyring file cannot be read, written or changed as asked; the message says why."""
