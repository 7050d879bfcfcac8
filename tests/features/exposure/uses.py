"""Entries of uses through a broker: they are all that exposure knows of brokers."""

from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal
from vault.core.trail import reader

#: The name of the broker.
GATE = "gate"


def record_use(
    who: str,
    secret_id: str,
    name: str,
    *,
    version: int = 1,
    host: str = "api.example.com",
    broker: str = GATE,
) -> None:
    """Put the use of a version by the principal *who* on record."""
    details = {"via_broker": broker, "host": host, "version": version, "name": name, "namespace": "default"}
    attempt = Attempt(action=Action.USE, principal=Principal(name=who), ip="127.0.0.1", details=details)
    attempt.secret_id = secret_id
    reader.record(attempt)
