"""Refusals of those who follow a link."""

from vault.common.errors.access import InvalidCredentialError
from vault.common.errors.base import Refusal


class InvalidLinkError(InvalidCredentialError):
    """The token of a share or of a request for a value is unknown, was used before, or has ended."""

    message = "The link was used before, has expired, or never existed."
    is_of_header = False
    refusal = Refusal(
        404,
        "Link not valid",
        page=(
            "The link to a shared value, or to a request for one, never existed, was used before, or has "
            "expired; its maker lost the right to it, or its secret ended. If no one else should have had "
            "it, treat the value as exposed."
        ),
    )


class WrongPassphraseError(InvalidCredentialError):
    """The shared value has a passphrase, and the request has none or another one.

    After five wrong ones, the link is no longer valid. Ask the person who shared it.
    """

    message = "The passphrase is wrong."
    refusal = Refusal(403)
