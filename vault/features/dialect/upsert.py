"""Upserts: writes of a named secret, whether it exists or not."""

from collections.abc import Callable
from itertools import chain, islice
from typing import TypeVar

from vault.common.errors import NameTakenError, SecretNotFoundError, VersionConflictError
from vault.common.retries import attempts
from vault.core.attempt import Action, Attempt
from vault.core.documents.write_rules import WriteRules
from vault.core.principal import Scope
from vault.core.secrets.requests import NewSecret, Reference, Written
from vault.core.services import Services

_T = TypeVar("_T")

#: The version of a secret that does not exist, or has no value yet.
NO_VERSION = 0

#: The maximum number of attempts, if other requests create and delete the secret meanwhile.
_MAX_ATTEMPTS = 5


def write(
    services: Services, new_secret: NewSecret, *, expected_version: int | None, attempt: Attempt
) -> Written:
    """Store the value of *new_secret*, which has a name, as the next version, or as the first one.

    Only a new secret gets the rest of it. The action of *attempt* becomes what is done, and its principal
    needs the scope for that. *expected_version* can be `NO_VERSION`.

    Raises:
        VersionConflictError: The newest version is not *expected_version*.
        NameTakenError: A deleted secret, which can be restored, has the name.
        ScopeMissingError: The principal lacks the scope.

    Also raises the errors of `SecretWriter.update` and `SecretService.create`.
    """

    def update() -> Written:
        return services.changes.update(
            Reference(name=new_secret.name),
            new_secret.plaintext,
            expected_version=expected_version,
            attempt=attempt,
        )

    def create() -> Written:
        if expected_version not in (None, NO_VERSION):
            raise VersionConflictError
        return services.secrets.create_named(new_secret, attempt=attempt)

    return _either(update, create, Action.UPDATE, attempt)


def write_metadata(
    services: Services, new_secret: NewSecret, change: Callable[[], object], *, attempt: Attempt
) -> None:
    """Apply *change* to the metadata of the secret, or else store *new_secret*, which has no value.

    Otherwise as `write`. Also raises the errors of *change*.
    """

    def create() -> Written:
        attempt.details["version"] = NO_VERSION
        if rules := WriteRules().changes(new_secret.rules):
            attempt.details["rules"] = rules
        return services.secrets.create_named(new_secret, attempt=attempt)

    _either(change, create, Action.UPDATE_METADATA, attempt)


def _either(
    update: Callable[[], _T], create: Callable[[], _T], update_action: Action, attempt: Attempt
) -> _T:
    taken, details = NameTakenError(), attempt.details
    # The last one at any time: an attempt can wait for a new primary.
    for _ in chain(islice(attempts(), _MAX_ATTEMPTS - 1), [None]):
        # Without what an earlier attempt has recorded.
        attempt.details = {**details}
        if Scope.SECRET_UPDATE in attempt.principal.scopes:
            attempt.action = update_action
            try:
                return update()
            except SecretNotFoundError:
                # Outside the principal's paths, the creation is refused.
                pass
        attempt.action = Action.CREATE
        attempt.require(Scope.SECRET_CREATE)
        try:
            return create()
        except NameTakenError as error:
            taken = error
        attempt.action, attempt.secret_id = update_action, None
        attempt.require(Scope.SECRET_UPDATE)
    attempt.action = Action.CREATE
    raise taken
