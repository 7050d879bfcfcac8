"""Upsert: write a named secret, whether it exists or not."""

from collections.abc import Callable
from itertools import islice

from vault.core.attempt import Action, Attempt
from vault.core.errors import NameTakenError, SecretNotFoundError, VersionConflictError
from vault.core.principal import Scope
from vault.core.retry import attempts
from vault.secrets.changes import SecretWriter
from vault.secrets.requests import NewSecret, Reference, Written
from vault.secrets.service import SecretService

#: The version of a secret that does not exist, or has no value yet.
NO_VERSION = 0

#: Tries, if other requests create and delete the secret meanwhile.
_TRIES = 5


class Upsert:
    """Writes named secrets: updates those that exist, and creates the others."""

    def __init__(self, creates: SecretService, changes: SecretWriter) -> None:
        self._creates = creates
        self._changes = changes

    def write(
        self,
        new_secret: NewSecret,
        *,
        expected_version: int | None = None,
        authorize: Callable[[Scope], None],
        attempt: Attempt,
    ) -> Written:
        """Store the value of *new_secret*, which has a name, as the next version, or as the first one.

        Only a new secret gets the rest of it. *authorize* is called with the scope that is needed, and the
        action of *attempt* becomes what is done. *expected_version* can be `NO_VERSION`.

        Raises:
            VersionConflictError: The newest version is not *expected_version*.
            NameTakenError: A deleted secret, which can be restored, has the name.

        Also raises the errors of *authorize*, `SecretWriter.update` and `SecretService.create`.
        """
        taken, details = NameTakenError(), attempt.details
        for _ in islice(attempts(), _TRIES):
            # Without what an earlier try has recorded.
            attempt.details = {**details}
            if Scope.SECRET_UPDATE in attempt.principal.scopes:
                attempt.action = Action.UPDATE
                try:
                    return self._update(new_secret, expected_version, attempt)
                except SecretNotFoundError:
                    # Outside the principal's paths, the creation is refused.
                    pass
            attempt.action = Action.CREATE
            authorize(Scope.SECRET_CREATE)
            if expected_version not in (None, NO_VERSION):
                raise VersionConflictError
            try:
                return self._creates.create_named(new_secret, attempt=attempt)
            except NameTakenError as error:
                taken = error
            attempt.action, attempt.secret_id = Action.UPDATE, None
            authorize(Scope.SECRET_UPDATE)
        attempt.action = Action.CREATE
        raise taken

    def _update(self, new_secret: NewSecret, expected_version: int | None, attempt: Attempt) -> Written:
        return self._changes.update(
            Reference(name=new_secret.name),
            new_secret.plaintext,
            expected_version=expected_version,
            attempt=attempt,
        )
