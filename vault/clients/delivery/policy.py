"""Policy: the services and images that may have a secret, by its labels and by the operator's table."""

import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from vault.clients.delivery.outcomes import ForbiddenError
from vault.clients.delivery.selection import Patterns, Reference, Selection, Task
from vault.common import strict_json
from vault.common.paths import Paths, is_path

Rules = TypeVar("Rules")

_FORM = 'must have a table "services" with lists of names of secrets, such as web = ["billing/"]'


def require_labels(selection: Selection, task: Task) -> None:
    """Require that the labels of the secret allow its delivery to *task*.

    Raises:
        ForbiddenError: They do not.
    """
    if not selection.services.match(task.service):
        raise ForbiddenError(f"the label secret-manager.services does not name the service {task.service}")
    # A deployment adds the digest by itself.
    image = task.image.partition("@")[0]
    if not any(map(selection.images.match, (task.image, image))):
        raise ForbiddenError(f"the label secret-manager.images does not name the image {image}")


class FormError(ValueError):
    """The content of a file does not have its form."""


class RulesFile(Generic[Rules]):
    """Rules in a file, TOML or JSON, which can change at any time."""

    def __init__(self, path: Path, parse: Callable[[Any], Rules]) -> None:
        """Read the rules by *parse*, which raises `FormError`.

        Raises:
            ForbiddenError: They cannot be read, or are invalid.
        """
        self._path = path
        self._parse = parse
        self._read: bytes | None = None
        self._rules: Rules
        self.current()

    def current(self) -> Rules:
        """Return the current rules.

        Raises:
            ForbiddenError: The file has become unreadable or invalid.
        """
        try:
            content = self._path.read_bytes()
            if content != self._read:
                self._rules, self._read = self._parse(self._load(content)), content
        except (OSError, RecursionError, ValueError) as error:
            reason = str(error) if isinstance(error, FormError) else type(error).__name__
            raise ForbiddenError(f"the policy {self._path.name} cannot be used: {reason}") from None
        return self._rules

    def _load(self, content: bytes) -> Any:
        """Return the decoded *content*, in which no name is repeated."""
        if self._path.suffix == ".json":
            return strict_json.decode(content, is_own=True)
        return tomllib.loads(content.decode())


class PolicyFile:
    """The table in a file that allows names of secrets to services, and nothing else."""

    def __init__(self, path: Path) -> None:
        """Read the table.

        Raises:
            ForbiddenError: It cannot be read, or is invalid.
        """
        self._file = RulesFile(path, _rules)

    def require(self, reference: Reference, task: Task) -> None:
        """Require that the current table allows the secret, by the name or ID in its label, to the service.

        Raises:
            ForbiddenError: It does not, or the file has become unreadable or invalid.
        """
        wanted = reference.name or reference.secret_id
        if not any(
            services.match(task.service) and paths.include(wanted) for services, paths in self._file.current()
        ):
            raise ForbiddenError(f"the policy does not allow this secret to the service {task.service}")


def _rules(found: Any) -> Sequence[tuple[Patterns, Paths]]:
    services = found.get("services") if isinstance(found, dict) and len(found) == 1 else None
    if not isinstance(services, dict):
        raise FormError(_FORM)
    return [(_service(pattern), _paths(pattern, names)) for pattern, names in services.items()]


def _service(pattern: str) -> Patterns:
    try:
        return Patterns([pattern])
    except ValueError:
        raise FormError(f"{pattern!r} must be a service, with * only at the end") from None


def _paths(service: str, names: Any) -> Paths:
    if not isinstance(names, list) or not names:
        raise FormError(_FORM)
    for name in names:
        if not isinstance(name, str) or not is_path(name):
            raise FormError(f"{service!r} has a name that is neither a name nor a prefix such as billing/")
    return Paths.of(names)
