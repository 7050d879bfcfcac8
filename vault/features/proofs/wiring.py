"""The services of proofs, and the task of a worker."""

from collections.abc import Iterator

from vault.common.feature import Task
from vault.core.parts import Parts
from vault.features.proofs.settings import WitnessSettings
from vault.features.proofs.witness import Witness
from vault.features.proofs.witnessed import WitnessedCheckpoints
from vault.features.proofs.witnesses import Witnesses


def services(parts: Parts) -> Iterator[object]:
    """Yield the services: the witnesses of this trail, and the checkpoints of other installations."""
    settings = parts.settings.of(WitnessSettings)
    token = settings.audit_witness_token or ""
    yield Witnesses(
        [Witness(url, token, settings.audit_witness_ca) for url in settings.audit_witnesses],
        parts.keyring,
        minutes=settings.audit_witness_minutes,
        retention_days=parts.settings.audit_ttl_days,
    )
    yield WitnessedCheckpoints(parts.keyring)


def tasks(parts: Parts) -> Iterator[Task]:
    """Yield the task: a worker shows checkpoints to the witnesses."""
    yield parts.of(Witnesses)
