"""The service of rotation, its runner, and the start of a rotation."""

from collections.abc import Iterator

from vault.core.attempt import Action, Attempt
from vault.core.parts import Parts
from vault.core.principal import OPERATOR
from vault.features.rotation.holders import Holders
from vault.features.rotation.plans import Rotations
from vault.features.rotation.run import Tools
from vault.features.rotation.runner import Runner
from vault.features.rotation.settings import RotationSettings


def services(parts: Parts) -> Iterator[Rotations]:
    """Yield the service: the rotation plans."""
    own = parts.settings.of(RotationSettings)
    tools = Tools(
        parts.secrets,
        parts.changes,
        step_seconds=own.rotation_step_seconds,
        check_seconds=own.rotation_check_seconds,
        commands=own.rotation_commands,
        holders=Holders(parts.settings.audit_ttl_days if parts.audit_enabled else None),
    )
    yield Rotations(parts.token_keys, tools)


def tasks(parts: Parts) -> Iterator[Runner]:
    """Yield the task of a worker: it runs the plans that are due."""
    yield parts.of(Rotations).runner


def rotate(parts: Parts, name: str, namespace: str) -> bool:
    """Make the plan of a secret due, and return whether it has one that runs now."""
    attempt = Attempt(action=Action.ROTATION_RUN, principal=OPERATOR)
    return parts.of(Rotations).start(name, namespace, attempt=attempt)
