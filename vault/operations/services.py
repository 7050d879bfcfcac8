"""The operations of one application, in one hand."""

from dataclasses import dataclass

from vault.operations.authentication import Authenticator
from vault.operations.catalog import Catalog
from vault.operations.changes import Changes
from vault.operations.health import Health, Startup
from vault.operations.key_watch import KeyWatch
from vault.operations.secrets import Secrets
from vault.operations.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Services:
    """What the floors above call."""

    secrets: Secrets
    changes: Changes
    catalog: Catalog
    key_watch: KeyWatch
    startup: Startup
    health: Health
    tokens: Tokens
    authenticator: Authenticator
