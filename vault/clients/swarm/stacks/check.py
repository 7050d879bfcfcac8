"""Checks of stacks: each secret that they ask for exists, and each service may have it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from vault.clients.delivery import policy
from vault.clients.delivery import selection as requests
from vault.clients.delivery.outcomes import ForbiddenError, InvalidRequestError
from vault.clients.delivery.policy import PolicyFile
from vault.clients.delivery.selection import LABEL_PREFIX, Reference, Selection, Task
from vault.clients.swarm.stacks.file import Stack, StackSecret, StackService
from vault.common.credentials import masked
from vault.common.paths import Paths
from vault.common.text import quantity

#: Returns the description of a secret, as the API has it; None if the secret does not exist.
Describe = Callable[[Reference], Mapping[str, Any] | None]

#: The parts of names of images that Docker's client leaves out or adds.
_DEFAULT_REGISTRIES = ("index.docker.io/", "docker.io/")
_OFFICIAL = "library/"
_DEFAULT_TAG = ":latest"


@dataclass(slots=True)
class Finding:
    """A secret of the stack, and what is wrong with it."""

    #: Its key in the stack.
    secret: str
    #: Its name in the service; empty if it has none.
    name: str = ""
    #: The services that get it.
    services: Sequence[str] = ()
    problems: list[str] = field(default_factory=list)
    #: What is not wrong, but good to know.
    notes: list[str] = field(default_factory=list)
    #: False if the driver does not deliver it.
    is_checked: bool = True

    def masked(self) -> "Finding":
        """Return it without credentials: a variable can have put one anywhere."""
        return replace(
            self,
            secret=masked(self.secret),
            name=masked(self.name),
            services=[masked(service) for service in self.services],
            problems=[masked(problem) for problem in self.problems],
            notes=[masked(note) for note in self.notes],
        )


class StackCheck:
    """The check of a stack, to be deployed under the name *stack_name*, for secrets of the driver *driver*.

    *paths* are those of the driver's token.
    """

    def __init__(
        self, describe: Describe, *, stack_name: str, driver: str, policy: PolicyFile | None, paths: Paths
    ) -> None:
        self._describe = describe
        self._prefix = f"{stack_name}_"
        self._driver = driver
        self._policy = policy
        self._paths = paths

    def run(self, stack: Stack) -> Iterator[Finding]:
        """Yield the finding for each secret of *stack*, except Docker's own, and for each that it lacks."""
        return (finding.masked() for finding in self._findings(stack))

    def _findings(self, stack: Stack) -> Iterator[Finding]:
        users: dict[str, dict[str, StackService]] = {}
        for name, service in stack.services.items():
            for key in service.secrets:
                users.setdefault(key, {})[self._prefix + name] = service
        for key in users.keys() - stack.secrets.keys():
            yield Finding(key, services=[*users[key]], problems=["the stack does not define it"])
        for key, secret in stack.secrets.items():
            if secret.driver == self._driver:
                yield self._finding(key, secret, users.get(key, {}))
            elif secret.driver or _has_labels(secret):
                yield self._stray(key, secret, users.get(key, {}))

    def _stray(self, key: str, secret: StackSecret, users: Mapping[str, StackService]) -> Finding:
        """Return the finding for a secret without the driver: its name can be mistyped."""
        finding = Finding(key, services=[*users], is_checked=False)
        found = f"its driver is {secret.driver}" if secret.driver else "it has no driver"
        if _has_labels(secret):
            finding.problems.append(f"{found}, and it has labels for the driver {self._driver}")
        else:
            finding.notes.append(f"not checked: {found}")
        return finding

    def _finding(self, key: str, secret: StackSecret, users: Mapping[str, StackService]) -> Finding:
        finding = Finding(key, services=[*users])
        if secret.is_external:
            finding.problems.append("it is external: Docker ignores its driver and labels")
        try:
            selection = requests.selection(secret.labels)
        except InvalidRequestError as error:
            finding.problems.append(str(error))
            return finding
        reference = selection.reference
        finding.name = reference.name
        if masked(reference.name) != reference.name:
            # The trail would keep it.
            finding.problems.append("its name has the form of a credential, so it was not looked up")
            return finding
        if self._paths and reference.name and not self._paths.include(reference.name):
            finding.problems.append(f"{reference.name} is outside the paths of the driver's token")
        finding.problems += self._refusals(key, selection, users)
        description = self._describe(reference)
        if description is None:
            finding.problems.append(
                f"{reference.name or 'the ID'} does not exist, or is outside the paths of your token"
            )
        else:
            self._compare(finding, selection, description)
        return finding

    def _refusals(self, key: str, selection: Selection, users: Mapping[str, StackService]) -> Iterator[str]:
        for name, service in users.items():
            image = deployed(service.image)
            task = Task(secret=key, service=name, service_id="", task="", task_id="", node="", image=image)
            for require in (policy.require_labels, self._policy_of_reference):
                try:
                    require(selection, task)
                except ForbiddenError as error:
                    yield f"{name}: {error}"

    def _policy_of_reference(self, selection: Selection, task: Task) -> None:
        if self._policy:
            self._policy.require(selection.reference, task)

    def _compare(self, finding: Finding, selection: Selection, description: Mapping[str, Any]) -> None:
        """Add what the *description* of the secret says about the selected version."""
        wanted = selection.reference.version or description["version"]
        now = datetime.now(UTC)
        if not any(
            version["version"] == wanted and not _is_past(version["deleted_at"], now)
            for version in description["versions"]
        ):
            finding.problems.append(
                f"version {wanted} cannot be read: it is deleted, purged, or was never stored"
            )
        name = description["name"]
        if self._paths and selection.reference.secret_id and not self._paths.include(name):
            finding.problems.append("the ID is outside the paths of the driver's token")
        if description["max_reads"] is not None:
            left = quantity(description["reads_left"], "read")
            finding.notes.append(f"{left} left, and each task that starts takes one")
        if description["expires_at"]:
            finding.notes.append(f"expires at {description['expires_at']}")
        if selection.field:
            finding.notes.append(f"the field {selection.field} is not checked: that needs the value")


def _has_labels(secret: StackSecret) -> bool:
    return any(name.startswith(LABEL_PREFIX) for name in secret.labels)


def _is_past(time: str | None, now: datetime) -> bool:
    return time is not None and datetime.fromisoformat(time) <= now


def deployed(image: str) -> str:
    """Return the name that an *image* of a stack file has in the swarm, except for a digest that is added.

    As Docker's client does, it leaves out the default registry and adds the default tag.
    """
    for registry in _DEFAULT_REGISTRIES:
        image = image.removeprefix(registry)
    official = image.removeprefix(_OFFICIAL)
    if "/" not in official:
        image = official
    is_exact = "@" in image or ":" in image.rpartition("/")[2]
    return image if is_exact or not image else image + _DEFAULT_TAG
