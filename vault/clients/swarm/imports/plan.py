"""Plans of imports: a swarm's own secrets, and their names here."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import chain, count

from vault.clients.delivery.selection import LABEL_PREFIX
from vault.clients.swarm.engine import DRIVER
from vault.common.errors import VaultError
from vault.common.paths import name_flaw

#: The label of what an import makes in a swarm, which it removes at its end.
IMPORT_LABEL = f"{LABEL_PREFIX}import"

#: Secrets of this product's own stacks, also while no service mounts them, such as a key after its rotation.
_OWN = re.compile(
    "mongo_uri|mongodb_(key_file|root_password)|master_key_v[0-9]+|swarm_driver_token|grafana_admin_password"
)

#: The label with the stack of a secret or a service.
STACK_LABEL = "com.docker.stack.namespace"
_MAX_DOCKER_NAME_LENGTH = 64
_SUFFIX = ".managed"


class Users(Enum):
    """The services that mount a secret."""

    NONE = auto()
    #: Services of this product, or of a stack that has one.
    OURS = auto()
    OTHERS = auto()


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
    #: True if Docker fills in its value for each task.
    is_template: bool = False
    users: Users = Users.NONE

    @property
    def stack(self) -> str:
        """The stack that made it; empty without one."""
        return self.labels.get(STACK_LABEL, "")


@dataclass(frozen=True, slots=True)
class Item:
    """A secret to import."""

    secret: SwarmSecret
    #: Its name here.
    name: str
    #: The name in the swarm for the secret that takes its place.
    successor: str


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
        ImportPlanError: The swarm lacks one of the named secrets, or one of them cannot be imported, or two
            secrets would have the same name here.
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
            successor = _successor(secret.name, here, found, {item.successor for item in items})
            items.append(Item(secret, here, successor))
    _require_named(only, skipped)
    _require_unique(items)
    return Plan(items, skipped)


def keys(secrets: Sequence[SwarmSecret]) -> Sequence[str]:
    """Return the keys of *secrets*, all of one stack, in its file.

    These are their names without the stack's; whole names if two secrets would have one key.
    """
    found = [secret.name.removeprefix(f"{secret.stack}_") or secret.name for secret in secrets]
    return found if len(set(found)) == len(found) else [secret.name for secret in secrets]


def _require_named(only: Collection[str], skipped: Iterable[tuple[SwarmSecret, str]]) -> None:
    for secret, reason in skipped:
        if secret.name in only:
            raise ImportPlanError(f"the secret {secret.name} cannot be imported: {reason}")


def _require_unique(items: Iterable[Item]) -> None:
    for name, number in Counter(item.name for item in items).items():
        if number > 1:
            raise ImportPlanError(
                f"{number} secrets would have the name {name}", hint="give them different names with --name"
            )


def _successor(name: str, here: str, found: Mapping[str, SwarmSecret], taken: Collection[str]) -> str:
    """Return a name in the swarm that is free, or that an earlier import has led to."""
    # Under the same name, Docker would keep the old secret, its labels changed and its driver ignored.
    return next(
        one
        for one in _successors(name)
        if one not in taken and (one not in found or _delivers(found[one], here))
    )


def _successors(name: str) -> Iterator[str]:
    suffixes = chain([_SUFFIX], (f"{_SUFFIX}{number}" for number in count(2)))
    return (name[: _MAX_DOCKER_NAME_LENGTH - len(suffix)] + suffix for suffix in suffixes)


def _delivers(secret: SwarmSecret, here: str) -> bool:
    return secret.driver == DRIVER and secret.labels.get(f"{LABEL_PREFIX}name") == here


def _is_own(secret: SwarmSecret) -> bool:
    is_named = _OWN.fullmatch(secret.name) and secret.users is Users.NONE
    return bool(is_named) or secret.users is Users.OURS or IMPORT_LABEL in secret.labels


def _reason(secret: SwarmSecret, name: str) -> str:
    if secret.driver:
        return f"the driver {secret.driver} has its value, not Docker"
    if _is_own(secret):
        return "it belongs to Secret Manager itself"
    if secret.is_template:
        return "it is a template, whose value each task has for itself"
    flaw = name_flaw(name)
    return f"its name here {flaw}: {name}" if flaw else ""
