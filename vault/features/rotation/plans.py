"""Creating, listing, running, pausing and deleting rotation plans."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from vault.common import deadline
from vault.common.errors import LimitReachedError, SecretNotFoundError, VaultError
from vault.common.outcomes import Status
from vault.common.timed_call import CallTimeoutError, call_within
from vault.common.timestamps import to_milliseconds
from vault.core.access.publishing import publish
from vault.core.access.token_keys import TokenKeys
from vault.core.attempt import Action, Attempt
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.principal import OPERATOR, Principal, Scope, plain_name
from vault.core.secrets import reach
from vault.core.secrets.items import Fetch
from vault.core.secrets.requests import Reference
from vault.features.rotation.documents import Rotation, Step
from vault.features.rotation.errors import (
    RotationBusyError,
    RotationFailedError,
    RotationNotFoundError,
    RotationRefusedError,
)
from vault.features.rotation.holders import MAX_HOLDERS, HoldingTasks
from vault.features.rotation.run import Tools
from vault.features.rotation.runner import Runner
from vault.features.rotation.sources.errors import SourceError
from vault.features.rotation.sources.source import SourceKind
from vault.features.rotation.value import PASSWORD, credential, server_of

logger = logging.getLogger(__name__)

STATES = ("waiting", "running", "published", "failing", "drifted", "paused", "altered")

#: The maximum number of plans, and of those in a namespace: one tenant must not use up all.
MAX_PLANS = 1_000
MAX_IN_NAMESPACE = 100
MAX_USER_LENGTH = 128
#: Bytes of the largest list of a namespace: the holders of each plan, of 128 bytes each, and other fields.
MAX_LIST_BYTES = MAX_IN_NAMESPACE * (MAX_HOLDERS * 128 + 4_096)

#: What creates and runs need besides the scope for plans.
_SCOPES = (Scope.SECRET_FETCH, Scope.SECRET_UPDATE)

#: Seconds that a request needs for its reply.
_REPLY_SECONDS = 0.5
#: The longest wait of a command for a run.
_MAX_WAIT_SECONDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRotation:
    """A plan to create."""

    name: str
    kind: SourceKind
    #: The name of the secret with the administrator's URL.
    admin: str
    #: The two users that take turns.
    users: Sequence[str]
    every_seconds: int
    grace_seconds: int = 86_400
    #: True if the value of the secret is the password alone.
    password_only: bool = False
    #: None stands for the caller's.
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationInfo:
    """A plan, and the state of its run. If someone has altered it in MongoDB, it has a name and no more."""

    name: str
    namespace: str
    #: One of `STATES`.
    state: str
    secret_id: str = field(default="", repr=False)
    kind: str = ""
    admin: str = ""
    users: Sequence[str] = ()
    field: str | None = None
    every_seconds: int = 0
    grace_seconds: int = 0
    created_at: datetime | None = None
    created_by: str = ""
    #: The last completed step of the run; None between two runs.
    step: str | None = None
    #: The time of the last publication, and the version that has the new password.
    done_at: datetime | None = None
    version: int | None = None
    next_at: datetime | None = None
    #: The user whose former password is still open, who may use it, and until when at the latest.
    open_user: str | None = None
    holders: Sequence[str] = ()
    close_at: datetime | None = None
    #: The reason of the last failure.
    error: str = ""


class Rotations:
    """The rotation plans of one deployment.

    Methods raise `StorageUnavailableError` if MongoDB is not available: a change may have taken effect.
    They raise `AuditUnavailableError` if the entry could not be written: then nothing has happened.
    """

    def __init__(self, keys: TokenKeys, tools: Tools) -> None:
        self._keys = keys
        self._tools = tools
        self.runner = Runner(keys, tools)
        self.tasks = HoldingTasks(keys)

    def create(self, new: NewRotation, *, attempt: Attempt) -> RotationInfo:
        """Create a plan for an existing secret; its first run comes after one period.

        Raises:
            ScopeMissingError: The principal may not fetch and update secrets.
            LimitReachedError: There are `MAX_PLANS`, or `MAX_IN_NAMESPACE` in its namespace.
            RotationExistsError: The secret has a plan.
            RotationRefusedError: It cannot be rotated like this; the message says why.
            SecretNotFoundError: The secret, or the administrator's, does not exist, or the principal cannot
                reach it.
        """
        _require_scopes(attempt)
        namespace = new.namespace or attempt.principal.namespace
        attempt.details |= {"kind": new.kind.value, "admin": new.admin, "users": list(new.users)}
        _require_reached(namespace, new.admin, attempt)
        _require_reached(namespace, new.name, attempt)
        if len(set(new.users)) != 2:
            raise RotationRefusedError("A plan has two users, which take turns.")
        with storage_errors():
            others = Rotation.in_namespace(namespace)
            is_full = len(others) >= MAX_IN_NAMESPACE or len(Rotation.active()) >= MAX_PLANS
        if is_full:
            raise LimitReachedError(
                f"There can be at most {MAX_IN_NAMESPACE} plans in a namespace, and {MAX_PLANS} in all."
            )
        member = PASSWORD if new.password_only else None
        # The caller reads both: who chooses the server can learn the password.
        reader = replace(attempt, principal=replace(attempt.principal, namespace=namespace), details={})
        url = self._tools.url(new.admin, reader)
        current = self._require_usable(url, new, member, reader)
        key = self._keys.find_or_make()
        now = to_milliseconds(datetime.now(UTC))
        plan_id = Rotation.id_of(namespace, new.name)
        _require_free(new.users, url, key, others, own=plan_id)
        plan = Rotation(
            id=plan_id,
            secret_id=current.attempt.secret_id,
            server=key.rotation_server(server_of(url), plan_id),
            namespace=namespace,
            name=new.name,
            kind=new.kind.value,
            admin=new.admin,
            users=list(new.users),
            field=member,
            every_seconds=new.every_seconds,
            grace_seconds=new.grace_seconds,
            created_at=now,
            created_by=attempt.principal.name,
            revision=0,
            next_at=now + timedelta(seconds=new.every_seconds),
            check_at=now + timedelta(days=1),
        )
        plan.close(key)
        publish(plan, attempt=attempt)
        try:
            # Again: another one can have been created at the same time, and finds this one.
            with storage_errors():
                others = Rotation.in_namespace(namespace)
            _require_free(new.users, url, key, others, own=plan_id)
        except VaultError:
            with suppress(RotationNotFoundError), best_effort_cleanup():
                withdrawal = replace(attempt, action=Action.ROTATION_DELETE, details={})
                self.delete(new.name, namespace=namespace, attempt=withdrawal)
            raise
        return _info(plan)

    def _require_usable(self, url: str, new: NewRotation, member: str | None, reader: Attempt) -> Fetch:
        current = self._tools.read(Reference(name=new.name), reader)
        found = credential(current.plaintext, member)
        if found.user is not None and found.user not in new.users:
            raise RotationRefusedError("The user in the value of the secret is not one of the plan.")
        try:
            self._tools.source(url, new.kind)
        except SourceError as error:
            raise RotationRefusedError(f"The source cannot be used: {error}.") from None
        return current

    def list(self, *, attempt: Attempt) -> list[RotationInfo]:
        """Return the plans of the principal's namespace and paths, by their names; for operators, all."""
        key, principal = self._keys.find(), attempt.principal
        with storage_errors():
            is_all = principal is OPERATOR
            documents = Rotation.active() if is_all else Rotation.in_namespace(principal.namespace)
        attempt.finish(Status.SUCCESS)
        infos = [_info_of(document, key) for document in documents]
        visible = [
            info for info in infos if principal is OPERATOR or principal.reaches(info.namespace, info.name)
        ]
        return sorted(visible, key=lambda info: (info.namespace, info.name))

    def infos(self) -> Sequence[RotationInfo]:
        """Return the plans of all namespaces, for those who see their numbers only."""
        key = self._keys.read()
        with storage_errors():
            return [_info_of(document, key) for document in Rotation.active()]

    def of(self, name: str, principal: Principal) -> RotationInfo | None:
        """Return the plan of a secret's name that *principal* has found in its namespace; None without one.

        For a page of the secret, whose entry covers it. The plan can be of an earlier secret of that name.
        """
        key = self._keys.find()
        with storage_errors(is_logged=False):
            found = Rotation.with_id(Rotation.id_of(principal.namespace, name))
        return _info_of(found[0], key) if found else None

    def show(self, name: str, *, namespace: str | None = None, attempt: Attempt) -> RotationInfo:
        """Return a plan.

        Raises:
            RotationNotFoundError: The secret has none, or the principal cannot reach it.
        """
        document, key = self._find(name, namespace, attempt)
        attempt.finish(Status.SUCCESS)
        return _info_of(document, key)

    def run(self, name: str, *, namespace: str | None = None, attempt: Attempt) -> Callable[[], int]:
        """Return the function that runs a plan up to the publication, which can take long.

        It returns the new version, and raises the errors of `Runner.run_now`.

        Raises:
            ScopeMissingError: As `create`.
            RotationNotFoundError: As `show`, or the principal cannot reach the administrator's secret.
        """
        _require_scopes(attempt)
        document, key = self._find(name, namespace, attempt)
        plan, principal = Rotation.genuine(document, key), attempt.principal
        if plan and principal is not OPERATOR and not principal.reaches(plan.namespace, plan.admin):
            attempt.details["reason"] = reach.OUTSIDE_PATHS
            raise RotationNotFoundError
        attempt.finish(Status.SUCCESS)
        plan_id = str(document["_id"])
        return lambda: self._run(plan_id, principal.name)

    def _run(self, plan_id: str, asked_by: str) -> int:
        # Not on the thread of the request, which its deadline would end in the middle of a step.
        seconds = min(deadline.remaining() - _REPLY_SECONDS, _MAX_WAIT_SECONDS)
        try:
            return call_within(seconds, lambda: self.runner.run_now(plan_id, asked_by))
        except CallTimeoutError:
            raise RotationBusyError("The rotation is in progress.", hint="Its plan shows the end.") from None
        except VaultError as error:
            raise error.detached() from None
        except Exception as error:  # noqa: BLE001 - its text could contain a password
            name = type(error).__name__
        logger.error("a rotation failed: %s", name)
        raise RotationFailedError(f"The rotation failed: an unexpected error: {name}")

    def pause(self, name: str, *, namespace: str | None = None, attempt: Attempt) -> None:
        """Start no run of a plan by its timer, until someone runs it. A former password still ends.

        Raises:
            RotationNotFoundError: As `show`, or someone has altered it in MongoDB.
        """
        is_saved = False
        while not is_saved:
            document, key = self._find(name, namespace, attempt)
            plan = Rotation.genuine(document, key)
            if plan is None or key is None:
                raise RotationNotFoundError
            attempt.finish(Status.SUCCESS)
            plan.is_paused = True
            with storage_errors():
                # Not if a run has changed it in the meantime.
                is_saved = plan.save_changes(key)

    def start(self, name: str, namespace: str, *, attempt: Attempt) -> bool:
        """Make a plan due, so that the service runs it soon; return whether.

        A former password that is still open ends first. False if the secret has no plan, or one that is
        paused, altered or in progress.
        """
        is_saved = False
        with suppress(RotationNotFoundError):
            while not is_saved:
                document, key = self._find(name, namespace, attempt)
                plan = Rotation.genuine(document, key)
                if not plan or not key or plan.is_paused or plan.step not in (None, Step.PUBLISHED):
                    break
                attempt.finish(Status.SUCCESS)
                if plan.step is None:
                    plan.next_at = to_milliseconds(datetime.now(UTC))
                plan.is_awaited = True
                with storage_errors():
                    # Not if a run has changed it in the meantime.
                    is_saved = plan.save_changes(key)
        return is_saved

    def delete(self, name: str, *, namespace: str | None = None, attempt: Attempt) -> None:
        """Delete a plan. A former password that is still open stays so.

        Raises:
            RotationNotFoundError: As `show`.
        """
        document, _ = self._find(name, namespace, attempt)
        attempt.finish(Status.SUCCESS)
        with storage_errors():
            Rotation.remove([document])

    def _find(
        self, name: str, namespace: str | None, attempt: Attempt
    ) -> tuple[Mapping[str, Any], TokenKey | None]:
        namespace = namespace or attempt.principal.namespace
        try:
            _require_reached(namespace, name, attempt)
        except SecretNotFoundError:
            raise RotationNotFoundError from None
        key = self._keys.find()
        with storage_errors():
            found = Rotation.with_id(Rotation.id_of(namespace, name))
        if not found:
            raise RotationNotFoundError
        return found[0], key


def may_run(principal: Principal) -> bool:
    """Return whether *principal*, who may manage plans, may also create and run them."""
    return principal.scopes.issuperset(_SCOPES)


def _require_scopes(attempt: Attempt) -> None:
    for scope in _SCOPES:
        attempt.require(scope)


def _require_reached(namespace: str, name: str, attempt: Attempt) -> None:
    reach.record(namespace, name, attempt)
    if attempt.principal is not OPERATOR:
        reach.require(namespace, name, attempt)


def _require_free(
    users: Iterable[str], url: str, key: TokenKey, documents: Iterable[Mapping[str, Any]], *, own: str
) -> None:
    """Require that no plan in *documents* but *own* changes a password of *users* on the server of *url*.

    Each would replace what the other one has published.

    Raises:
        RotationRefusedError: One does.
    """
    server = server_of(url)
    for plan in filter(None, (Rotation.genuine(document, key) for document in documents)):
        is_same = {*plan.users}.intersection(users) and plan.server == key.rotation_server(server, plan.id)
        if is_same and plan.id != own:
            raise RotationRefusedError("Another plan changes the password of one of the users.")


def _info_of(document: Mapping[str, Any], key: TokenKey | None) -> RotationInfo:
    plan = Rotation.genuine(document, key)
    if plan is None:
        # No other field can be trusted, not even its type.
        namespace, _, name = str(document["_id"]).partition("/")
        return RotationInfo(name=name, namespace=namespace, state="altered")
    return _info(plan)


def _info(plan: Rotation) -> RotationInfo:
    is_published = plan.step == Step.PUBLISHED
    return plan.shown(
        RotationInfo,
        state=_state(plan),
        created_by=plain_name(plan.created_by, plan.namespace),
        version=plan.version if plan.done_at else None,
        open_user=plan.former if is_published else None,
        holders=tuple(plan.holders or ()) if is_published else (),
        error=plan.error or "",
    )


def _state(plan: Rotation) -> str:
    if plan.has_drifted:
        return "drifted"
    if plan.is_paused and plan.step is None:
        return "paused"
    if plan.failures:
        return "failing"
    if plan.step is not None:
        return "published" if plan.step == Step.PUBLISHED else "running"
    return "waiting"
