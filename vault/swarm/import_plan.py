"""Plans of imports: a swarm's own secrets, and their names here."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vault.core.errors import VaultError
from vault.core.paths import is_path
from vault.swarm.requests import LABEL_PREFIX

#: The label of what an import makes in a swarm, which it removes at its end.
IMPORT_LABEL = f"{LABEL_PREFIX}import"

#: The secrets of this product's own stacks.
_OWN = re.compile("mongo_uri|mongodb_(key_file|root_password)|master_key_v[0-9]+|swarm_driver_token")

_STACK_LABEL = "com.docker.stack.namespace"
_MAX_DOCKER_NAME_LENGTH = 64
_SUFFIX = ".managed"


class ImportPlanError(VaultError):
    """An import cannot be planned as asked."""

    kind = "invalid_import_plan"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmSecret:
    """A secret of a swarm, as Docker describes it."""

    secret_id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Empty for Docker's own secrets.
    driver: str = ""

    @property
    def stack(self) -> str:
        """The stack that made it; empty without one."""
        return self.labels.get(_STACK_LABEL, "")

    @property
    def key(self) -> str:
        """Its key in the file of its stack, or its name."""
        return self.name.removeprefix(f"{self.stack}_")

    @property
    def successor(self) -> str:
        """The name in the swarm for the secret that takes its place."""
        # Under the same name, Docker would keep this one, its labels changed and its driver ignored.
        return self.name[: _MAX_DOCKER_NAME_LENGTH - len(_SUFFIX)] + _SUFFIX


@dataclass(frozen=True, slots=True)
class Item:
    """A secret to import, and its name here."""

    secret: SwarmSecret
    name: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The secrets to import, and the others with the reason why they are not imported."""

    items: Sequence[Item]
    skipped: Sequence[tuple[SwarmSecret, str]]


def plan(
    secrets: Iterable[SwarmSecret],
    *,
    only: Collection[str],
    labels: Mapping[str, str],
    prefix: str,
    names: Mapping[str, str],
) -> Plan:
    """Return the plan for *secrets*: those named *only*, if any are, that have all *labels*.

    Each keeps its name below the folder *prefix*, unless *names* has another one.

    Raises:
        ImportPlanError: The swarm lacks one of the named secrets, or two would have the same name here.
    """
    found = {secret.name: secret for secret in secrets}
    for name in (*only, *names):
        if name not in found:
            raise ImportPlanError(f"the swarm has no secret {name}")
    items: list[Item] = []
    skipped: list[tuple[SwarmSecret, str]] = []
    for name, secret in sorted(found.items()):
        if (only and name not in only) or not labels.items() <= secret.labels.items():
            continue
        here = names.get(name, prefix + name)
        if reason := _reason(secret, here):
            skipped.append((secret, reason))
        else:
            items.append(Item(secret, here))
    for name, count in Counter(item.name for item in items).items():
        if count > 1:
            raise ImportPlanError(
                f"{count} secrets would have the name {name}; use --name to tell them apart"
            )
    return Plan(items, skipped)


def _reason(secret: SwarmSecret, name: str) -> str:
    if secret.driver:
        return f"the driver {secret.driver} has its value, not Docker"
    if _OWN.fullmatch(secret.name) or IMPORT_LABEL in secret.labels:
        return "it belongs to Secret Manager itself"
    return "" if is_path(name) else f"its name here would be too long: {name}"
