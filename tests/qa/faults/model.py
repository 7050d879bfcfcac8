"""The effect of each request on a secret, and the states in which its answer is possible."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.qa.faults.history import Request

#: Kept versions of a secret; the default of `MAX_VERSIONS`.
KEPT = 10


@dataclass(frozen=True, slots=True)
class Life:
    """A secret: the values of all its versions, and whether it is deleted."""

    values: tuple[str, ...]
    deleted: bool = False

    @property
    def version(self) -> int:
        """The number of the newest version."""
        return len(self.values)

    def value(self, version: int | None) -> str | None:
        """Return the result of a fetch of the newest, or the given, version; None for nothing."""
        number = version or self.version
        if not self.values:
            return None
        if self.deleted or not self.version - KEPT < number <= self.version:
            return None
        return self.values[number - 1]


def step_of(request: Request) -> Callable[[Life], Life | None]:
    """Return the effect of *request* with its answer, or without one; None if it is impossible."""
    return lambda life: _STEPS[request.action](life, request)


def _fetch(life: Life, request: Request) -> Life | None:
    given = request.reply["secret"] if request.succeeded else None
    return life if life.value(request.body.get("version")) == given else None


def _create(life: Life, request: Request) -> Life | None:
    """Return the effect on a name: it is free, or taken."""
    if request.status == 409:
        return life if life.values else None
    return None if life.values else Life((request.body["secret"],))


def _update(life: Life, request: Request) -> Life | None:
    if request.status == 404:
        return life if life.deleted else None
    expected = request.body.get("expected_version", life.version)
    if request.status == 409:
        return life if not life.deleted and expected != life.version else None
    after = replace(life, values=(*life.values, request.body["secret"]))
    version = request.reply["version"] if request.succeeded else after.version
    return after if not life.deleted and (expected, version) == (life.version, after.version) else None


def _delete(life: Life, request: Request) -> Life | None:
    if request.status == 404:
        return life if life.deleted else None
    return None if life.deleted else replace(life, deleted=True)


def _restore(life: Life, request: Request) -> Life | None:
    if request.status == 404:
        return None if life.deleted else life
    return replace(life, deleted=False) if life.deleted else None


def _put(life: Life, request: Request) -> Life | None:
    """Return the effect of a write of Vault's API, which creates or updates a secret, and is not refused."""
    if request.status == 409:
        return None
    after = replace(life, values=(*life.values, request.body["secret"]))
    return after if not request.succeeded or request.reply["version"] == after.version else None


_STEPS = {
    "create": _create,
    "put": _put,
    "fetch": _fetch,
    "update": _update,
    "delete": _delete,
    "restore": _restore,
}
