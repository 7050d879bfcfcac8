"""The operations of one application, in one hand."""

from dataclasses import dataclass

from vault.operations.authentication import Authenticator
from vault.operations.health import Health
from vault.operations.secrets import Secrets
from vault.operations.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Services:
    """What the floors above call."""

    secrets: Secrets
    health: Health
    tokens: Tokens
    authenticator: Authenticator
