"""Tasks of Docker Swarm that hold a former password, and their releases by the driver that delivered it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vault.auth.token_keys import TokenKeys
from vault.core.attempt import Attempt
from vault.core.outcomes import Status
from vault.core.principal import Principal
from vault.documents.guard import storage_errors
from vault.features.rotation import holders
from vault.features.rotation.documents import Rotation
from vault.features.rotation.errors import RotationNotFoundError
from vault.features.rotation.holders import Former
from vault.features.rotation.step import Step
from vault.secrets import reach


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A published rotation that waits for tasks."""

    name: str
    secret_id: str = field(repr=False)
    #: The version with the new password.
    version: int
    #: The IDs of tasks with an earlier version: if there are many, the first ones.
    tasks: Sequence[str]


class HoldingTasks:
    """The tasks that hold a former password. Both methods raise `StorageUnavailableError`, as `Rotations`."""

    def __init__(self, keys: TokenKeys) -> None:
        self._keys = keys

    def waiting(self, *, attempt: Attempt) -> list[Waiting]:
        """Return the rotations that wait for tasks to which the principal delivered a former password."""
        principal = attempt.principal
        found = [
            Waiting(name=plan.name, secret_id=plan.secret_id, version=plan.version, tasks=tasks)
            for plan in self._published(principal)
            if (tasks := holders.tasks(Former.of(plan), principal.name))
        ]
        attempt.finish(Status.SUCCESS)
        return found

    def release(self, name: str, version: int, tasks: Sequence[str], *, attempt: Attempt) -> None:
        """Put on record that *tasks* have ended: they hold the rotation to *version* up no longer.

        Only tasks to which the principal delivered the value matter.

        Raises:
            RotationNotFoundError: No published rotation to that version is open, or the principal cannot
                reach the secret.
        """
        principal = attempt.principal
        reach.record(principal.namespace, name, attempt)
        found = [plan for plan in self._published(principal) if (plan.name, plan.version) == (name, version)]
        if not found:
            raise RotationNotFoundError
        attempt.secret_id = found[0].secret_id
        attempt.success_details |= {"version": version, "tasks": list(tasks)}
        attempt.finish(Status.SUCCESS)

    def _published(self, principal: Principal) -> list[Rotation]:
        """Return the plans within reach whose former password is open."""
        key = self._keys.find()
        with storage_errors():
            documents = Rotation.in_namespace(principal.namespace)
        plans = [plan for document in documents if (plan := Rotation.genuine(document, key))]
        published = [
            plan
            for plan in plans
            if plan.step == Step.PUBLISHED and principal.reaches(plan.namespace, plan.name)
        ]
        return sorted(published, key=lambda plan: str(plan.name))
