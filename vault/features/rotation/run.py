"""A run of a rotation plan: two users take turns, so that no login fails at any moment.

Each step has its entry first, and is stored after it. After a crash, the next run continues where this one
ended: whether the source has the new password, a login with it decides, and whether it is published, the
secret itself.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NoReturn

from vault.common.errors import SecretNotFoundError, VersionConflictError
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.principal import SERVICE, Principal
from vault.core.secrets.changes import SecretWriter
from vault.core.secrets.items import Fetch
from vault.core.secrets.requests import Reference
from vault.core.secrets.service import SecretService
from vault.core.trail.reader import SETTLED_SECONDS
from vault.features.rotation.documents import Rotation, Step, Work
from vault.features.rotation.errors import RotationRefusedError
from vault.features.rotation.holders import Former, Holders
from vault.features.rotation.sources.errors import LostError
from vault.features.rotation.sources.opening import open_source
from vault.features.rotation.sources.source import Source, SourceKind
from vault.features.rotation.value import Credential, changed, credential, new_password, server_of


class DriftError(Exception):
    """The password in use does not open the source."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The operations on secrets, and the settings, that runs need."""

    secrets: SecretService
    changes: SecretWriter
    #: Seconds of each step at a source, and between two looks at the plans.
    step_seconds: int
    check_seconds: int
    #: The programs that may be a source.
    commands: tuple[str, ...]
    holders: Holders

    def read(self, reference: Reference, reader: Attempt) -> Fetch:
        """Return the newest version of a secret: *reader* reads it, on record.

        Raises:
            RotationRefusedError: The secret has a read limit. No read is counted.
        """
        details = reader.details | {"rotation": True}
        attempt = replace(reader, action=Action.FETCH, secret_id=None, details=details, receipt=None)
        item = Fetch(attempt=attempt, reference=reference)
        return self.secrets.read(item, _unlimited)

    def url(self, admin: str, reader: Attempt) -> str:
        """Return the administrator's URL in the secret *admin*, which *reader* reads.

        Raises:
            RotationRefusedError: It is no text, and as `read`.
        """
        try:
            return self.read(Reference(name=admin), reader).plaintext.decode()
        except UnicodeDecodeError:
            raise RotationRefusedError("The value of the administrator's secret is not a text.") from None

    def source(self, url: str, kind: str) -> Source:
        """Return the source with the administrator's *url*. Errors as `open_source`."""
        return open_source(SourceKind(kind), url, seconds=self.step_seconds, commands=self.commands)


def _unlimited(found: Fetch) -> Fetch:
    if found.max_reads is not None:
        name = found.name
        raise RotationRefusedError(f"The secret {name} has a read limit, and the service itself reads it.")
    return found


def principal_of(namespace: str) -> Principal:
    """Return the service itself, as it acts in *namespace*."""
    return replace(SERVICE, namespace=namespace)


class Run:
    """A run of *plan*, under its lease.

    *keep* renews the lease, and returns the time by MongoDB's clock; it raises `LostError` if it cannot. So
    do all methods. They raise `SourceError`, too, and the errors of the operations on secrets. *asked* has
    the person who asks for the run, if there is one, as details of its entries.
    """

    def __init__(
        self,
        plan: Rotation,
        key: TokenKey,
        tools: Tools,
        keep: Callable[[], datetime],
        asked: Mapping[str, str],
    ) -> None:
        self._plan = plan
        self._key = key
        self._tools = tools
        self._keep = keep
        self.asked = asked
        self._source: Source | None = None
        #: The step in progress.
        self.work = Work.GENERATE

    def publish(self) -> None:
        """Give the other user a new password, and publish it.

        Raises:
            DriftError: The password in use does not open the source.
            RotationRefusedError: The secret does not have the form that the plan says, or someone else has
                changed it during the run.
        """
        if self._plan.step is None:
            self._generate()
        else:
            self._resume()
        if self._plan.step == Step.GENERATED:
            self._set()
        if self._plan.step == Step.SET:
            self._prove()
        if self._plan.step == Step.PROVED:
            self._publish()

    def check(self) -> None:
        """Log in with the password in use.

        Raises:
            DriftError: The source does not accept it.
        """
        self.work = Work.CHECK
        self._keep()
        self._in_use(credential(self._current().plaintext, self._plan.field))

    def close(self) -> None:
        """Close the former password, if no one holds it, or the grace period has ended."""
        plan, self.work = self._plan, Work.CLOSE
        now = self._keep()
        # A later one comes from a clock that was wrong.
        plan.close_at = min(plan.close_at, now + timedelta(seconds=plan.grace_seconds))
        found, version = self._found()
        left = self._tools.holders.of(Former.of(plan), self._keep())
        plan.holders = list(left)
        if left and now < plan.close_at:
            # Less and less often: it can take days.
            pause = max(timedelta(seconds=self._tools.check_seconds), (now - plan.done_at) / 10)
            plan.next_at = min(plan.close_at, now + pause)
            save(plan, self._key)
            return
        source = self._connected()
        if found and self._is_former(found):
            # Someone has stored the former value again: the password that replaced it is to end now.
            plan.former, plan.user, plan.version = plan.user, plan.former, version
            plan.before_at, plan.since_at = plan.since_at, plan.before_at
            self._open(now)
            save(plan, self._key)
            return
        self._record(self.work, user=plan.former, holders=list(left))
        source.close(plan.former, new_password(), self._keep)
        plan.end_run()
        plan.failures, plan.error, plan.has_drifted = 0, None, False
        period = timedelta(seconds=0 if plan.is_awaited else plan.every_seconds)
        plan.next_at = max(plan.done_at + period, now)
        save(plan, self._key)

    def _open(self, now: datetime) -> None:
        """Leave the former password open for the grace period, which begins *now*."""
        plan = self._plan
        plan.close_at = now + timedelta(seconds=plan.grace_seconds)
        # Until then, the trail can lack reads.
        plan.next_at = now + timedelta(seconds=min(plan.grace_seconds, SETTLED_SECONDS))

    def _found(self) -> tuple[Credential | None, int]:
        """Return the credential in the secret, and its version.

        None if there is no valid one: the former password ends all the same.
        """
        version = 0
        try:
            current = self._current()
            version = current.fetched_version
            return credential(current.plaintext, self._plan.field), version
        except (RotationRefusedError, SecretNotFoundError):
            return None, version

    def _is_former(self, found: Credential) -> bool:
        """Return whether the password that is *found* in the secret is that of the former user.

        Raises:
            DriftError: It is no one's. The former password can be the only one that opens the source.
        """
        try:
            return bool(self._in_use(found) == self._plan.former)
        except RotationRefusedError:
            # It has another user, whom both passwords do not concern.
            return False

    def _generate(self) -> None:
        plan, self.work = self._plan, Work.GENERATE
        # From now on, the runner continues what a crash interrupts.
        plan.next_at = self._keep()
        current = self._current()
        former = self._in_use(credential(current.plaintext, plan.field))
        plan.former = former
        plan.user = next(user for user in plan.users if user != former)
        plan.version = current.fetched_version + 1
        plan.password = b64encode(self._key.encrypt_password(new_password(), plan.id)).decode()
        plan.is_awaited = None
        self._record(self.work, user=plan.user, version=plan.version)
        self._step(Step.GENERATED)

    def _resume(self) -> None:
        """Find out how far the run before this one came."""
        self._keep()
        if self._is_published():
            self._finish()
            return
        self.work = Work.LOGIN
        # Some know the password of a version that was published, and its holder may be gone.
        if self._tools.holders.is_published(self._plan):
            self._give_up(
                "The version of this run was published before: someone has put back earlier documents."
            )
        # Also after it was set: the source may have been restored since, or someone has changed it there.
        if not self._connected().login(self._plan.user, self._new().password):
            self._plan.step = Step.GENERATED
        elif self._plan.step == Step.GENERATED:
            self._step(Step.SET)

    def _set(self) -> None:
        plan, self.work = self._plan, Work.SET
        self._keep()
        self._record(self.work, user=plan.user, version=plan.version)
        self._connected().set_password(plan.user, self._new().password, self._keep)
        self._step(Step.SET)

    def _prove(self) -> None:
        plan, self.work = self._plan, Work.LOGIN
        plan.proved_at = self._keep()
        self._record(self.work, user=plan.user, version=plan.version)
        if not self._connected().login(plan.user, self._new().password):
            raise RotationRefusedError(
                "The source refuses a login with the new password: is the user locked?"
            )
        self._step(Step.PROVED)

    def _publish(self) -> None:
        plan, new, self.work = self._plan, self._new(), Work.PUBLISH
        self._keep()
        attempt = Attempt(
            action=Action.UPDATE,
            principal=principal_of(plan.namespace),
            details={**self.asked, "rotation": True},
        )
        try:
            self._tools.changes.patch(
                Reference(secret_id=plan.secret_id),
                lambda current: changed(current.plaintext, plan.field, new),
                expected_version=plan.version - 1,
                attempt=attempt,
            )
        except VersionConflictError:
            # A process that died may have published the password itself.
            if not self._is_published():
                self._give_up()
        self._finish()

    def _finish(self) -> None:
        """Put the publication on record."""
        plan, self.work = self._plan, Work.PUBLISH
        now = self._keep()
        self._record(self.work, Action.ROTATION_DONE, user=plan.user, version=plan.version)
        # A time ahead comes from a clock that was wrong.
        plan.before_at = plan.since_at if plan.since_at and plan.since_at <= now else None
        # A process may have ended after the publication, and some have read the value since.
        plan.since_at = min(plan.proved_at or now, now)
        plan.done_at = now
        self._open(now)
        plan.password = None
        self._step(Step.PUBLISHED)

    def _is_published(self) -> bool:
        """Return whether the secret has the new password.

        Raises:
            RotationRefusedError: It has neither that nor the former version: the run ends.
        """
        current, plan = self._current(), self._plan
        if current.fetched_version < plan.version:
            return False
        found, new = credential(current.plaintext, plan.field), self._new()
        if found.password != new.password or found.user not in (None, new.user):
            self._give_up()
        return True

    def _give_up(self, reason: str = "The secret was changed during the rotation.") -> NoReturn:
        """End the run without a publication: the next run makes another password."""
        self._plan.end_run()
        raise RotationRefusedError(reason)

    def _in_use(self, found: Credential) -> str:
        """Return the user of the password that is *found* in the secret.

        Raises:
            DriftError: The password does not open the source.
            RotationRefusedError: The plan does not have the user.
        """
        users = list(self._plan.users) if found.user is None else [found.user]
        if found.user is not None and found.user not in self._plan.users:
            raise RotationRefusedError("The user in the value of the secret is not one of the plan.")
        source = self._connected()
        for user in users:
            self._keep()
            if source.login(user, found.password):
                return user
        raise DriftError

    def _current(self) -> Fetch:
        # By its ID: another secret that gets the name later has another owner.
        return self._tools.read(Reference(secret_id=self._plan.secret_id), self._reader())

    def _reader(self) -> Attempt:
        principal = principal_of(self._plan.namespace)
        return Attempt(action=Action.FETCH, principal=principal, details=dict(self.asked))

    def _connected(self) -> Source:
        """Return the source.

        Raises:
            RotationRefusedError: The administrator's secret is missing or names another server.
        """
        plan = self._plan
        if self._source is None:
            try:
                url = self._tools.url(plan.admin, self._reader())
            except SecretNotFoundError:
                raise RotationRefusedError("The administrator's secret does not exist.") from None
            # Who may write that secret would get the password in use by a login there.
            if self._key.rotation_server(server_of(url), plan.id) != plan.server:
                raise RotationRefusedError(
                    "The administrator's secret names another server than at the creation of the plan. "
                    "Create the plan again."
                )
            self._source = self._tools.source(url, plan.kind)
        return self._source

    def _new(self) -> Credential:
        plan = self._plan
        return Credential(plan.user, self._key.decrypt_password(b64decode(plan.password), plan.id))

    def _record(self, work: Work, action: Action = Action.ROTATION_STEP, **details: Any) -> None:
        record(self._plan, action, step=work, **details, **self.asked)

    def _step(self, step: Step) -> None:
        plan = self._plan
        plan.step, plan.has_drifted = step, False
        if step == Step.PUBLISHED:
            # Not before: steps that are taken again must not end the pauses.
            plan.failures, plan.error = 0, None
        save(plan, self._key)


def record(plan: Rotation, action: Action, **details: Any) -> None:
    """Put an *action* of the service on record."""
    named = {"name": plan.name, "namespace": plan.namespace, **details}
    attempt = Attempt(
        action=action, principal=principal_of(plan.namespace), secret_id=plan.secret_id, details=named
    )
    attempt.finish(Status.SUCCESS)


def save(plan: Rotation, key: TokenKey) -> None:
    """Store *plan*.

    Raises:
        LostError: Someone else has changed or deleted it.
    """
    with storage_errors():
        if not plan.save_changes(key):
            raise LostError
