"""Secrets of the service: references to them, and what can be done with them over HTTP."""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, cast

from vault.common.errors import ServiceRefusedError, ServiceUnavailableError, VaultError
from vault.common.limits import MAX_ITEMS
from vault.toolkit.client.descriptions import is_description, is_row
from vault.toolkit.client.service import Service

#: The maximum bytes of a value: no service can take more.
MAX_VALUE_BYTES = 1_048_576

_PATH = "/vault/secret/"

#: The base64 of a batch of new secrets. The service takes 8 MiB of values.
_MAX_BATCH_LENGTH = 6 * 1_048_576

#: The maximum number of secrets in a page.
_PAGE = 1_000

#: The maximum number of secrets that an error names.
_MAX_NAMED = 5

_NAME_TAKEN = "name_taken"

#: Codes of refusals.
NOT_FOUND = "secret_not_found"
_RATE_LIMITED = "rate_limited"

_ID_PATTERN = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"


@dataclass(frozen=True, slots=True)
class Fetched:
    """A value, and the secret that it belongs to."""

    secret_id: str
    #: None if the secret has none.
    name: str | None
    version: int
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Written:
    """A new version of a secret."""

    secret_id: str
    version: int
    #: The reason why programs would read the new canary; empty without one.
    warning: str = ""


def is_id(text: str) -> bool:
    """Return whether *text* has the form of an ID."""
    return re.fullmatch(_ID_PATTERN, text) is not None


def reference(text: str) -> dict[str, Any]:
    """Return the reference of the API to the secret with the ID or the name *text*."""
    return {"secret_id" if is_id(text) else "name": text}


def _give_up(limited: ServiceRefusedError) -> None:
    raise limited


class Secrets:
    """The secrets of *service*.

    Every method raises ServiceRefusedError and ServiceUnavailableError. None in an argument stands for the
    service's default.
    """

    def __init__(self, service: Service, *, wait: Callable[[ServiceRefusedError], None] = _give_up) -> None:
        """Call *wait* with the refusal of each request beyond the rate limit, and then repeat the request."""
        self._service = service
        self._wait = wait
        #: Fewer after the service has refused that many, which are more than its rate limit.
        self._max_items = MAX_ITEMS

    def fetch(self, references: Sequence[Mapping[str, Any]]) -> list[Fetched | VaultError]:
        """Return the value, or the error, of each of *references*, with one request for 100 of them."""
        found: list[Fetched | VaultError] = []
        for part in _parts(references):
            found += (self._fetched(*one) for one in self._outcomes("fetch-batch", part))
        return found

    def fetch_below(self, prefix: str) -> list[Fetched]:
        """Return all secrets whose names begin with *prefix*, at most 100, with one request."""
        items = self._items("fetch-batch", {"name_prefix": prefix})
        return all_of([self._fetched({}, item) for item in items], [prefix] * len(items))

    def listed(
        self,
        prefix: str = "",
        *,
        deleted: bool = False,
        **filters: Any,
    ) -> Iterator[dict[str, Any]]:
        """Yield the secrets whose names begin with *prefix*, page by page.

        *filters* are further ones, as the API has them.
        """
        query = {"name_prefix": prefix, "deleted": deleted, "limit": _PAGE, "cursor": None}
        # Not those without a value: an earlier version of the service does not know them.
        query |= {name: text for name, text in filters.items() if text}
        while True:
            page = self.call("list", query)
            if not all(map(is_row, rows := self._objects(page))):
                raise self._service.odd_reply()
            yield from rows
            query["cursor"] = page.get("cursor")
            if query["cursor"] is None:
                return

    def describe(self, secret: Mapping[str, Any]) -> dict[str, Any]:
        """Return everything about *secret* except its value."""
        found = self.call_for("describe", secret)
        if not is_description(found):
            raise self._service.odd_reply()
        return found

    def call(self, operation: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the reply to *operation* of the API with this *body*."""
        while True:
            try:
                return self._service.call(_PATH + operation, body)
            except ServiceRefusedError as error:
                self._wait_for_limit(error)

    def call_for(self, operation: str, secret: Mapping[str, Any]) -> dict[str, Any]:
        """Return the reply to *operation* of the API for one *secret*, which a refusal names.

        *secret* can have further fields of the request, such as the `version` that `purge` destroys.
        """
        try:
            return self.call(operation, secret)
        except ServiceRefusedError as error:
            raise _named(secret, error) from None

    def find(self, secret: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what `describe` does; None if there is no such secret that the holder can reach."""
        try:
            return self.call("describe", secret)
        except ServiceRefusedError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def create(self, value: bytes, **properties: Any) -> Written:
        """Create a secret with *properties*, as the API has them."""
        return self._written({"version": 1, **self.call("create", encoded(value) | properties)})

    def put(
        self,
        secret: str,
        value: bytes,
        *,
        expected_version: int | None = None,
        max_reads: int | None = None,
        **properties: Any,
    ) -> Written:
        """Store *value* as the secret with this name, or as the next version of that with this name or ID.

        With *expected_version*, that is the present one, and 0 is for a new secret. *properties* are those of
        `update_metadata`.

        Raises:
            ServiceRefusedError: The service refuses it.
            ServiceUnavailableError: The service is unavailable. The value may be stored.
            VaultError: The secret exists, and *max_reads* is given; or its properties could not be changed.
        """
        can_be_new = not is_id(secret) and not expected_version
        if can_be_new:
            try:
                return self.create(value, name=secret, max_reads=max_reads, **properties)
            except ServiceRefusedError as error:
                if error.code != _NAME_TAKEN or expected_version == 0:
                    raise
        if max_reads:
            raise VaultError("the secret exists, so its read limit cannot change", hint="omit --max-reads")
        try:
            written = self.update(reference(secret), value, expected_version=expected_version)
        except ServiceRefusedError as error:
            # Other callers may have deleted it after the attempt to create it: then it is true as well.
            if error.code == NOT_FOUND and can_be_new:
                raise deleted_name(secret) from None
            raise
        if any(value is not None for value in properties.values()):
            self._update_properties(secret, written, properties)
        return written

    def create_all(self, secrets: Sequence[tuple[str, bytes]]) -> Iterator[VaultError | None]:
        """Create *secrets*, each a name and a value, and yield the error of each, or None."""
        bodies = [{"name": name, **encoded(value)} for name, value in secrets]
        for part in _parts(bodies):
            for _, item in self._outcomes("create-batch", part):
                yield self._problem(item)

    def update(
        self, secret: Mapping[str, Any], value: bytes, *, expected_version: int | None = None
    ) -> Written:
        """Store the next version of *secret*; with *expected_version*, only after that one."""
        body = {**secret, **encoded(value), "expected_version": expected_version}
        return self._written(self.call("update", body))

    def update_metadata(self, secret: Mapping[str, Any], **properties: Any) -> None:
        """Change the description and the `ttl_seconds` of *secret*."""
        self.call("update-metadata", {**secret, **properties})

    def _update_properties(self, secret: str, written: Written, properties: Mapping[str, Any]) -> None:
        try:
            self.update_metadata(reference(secret), **properties)
        except VaultError as error:
            raise VaultError(
                f"version {written.version} is stored, but its labels and expiry are not: {error.problem}"
            ) from None

    def _wait_for_limit(self, error: ServiceRefusedError) -> None:
        """Wait if *error* is about the rate limit; raise it otherwise."""
        if error.code != _RATE_LIMITED:
            raise error
        self._wait(error)

    def _objects(self, reply: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the secrets, or their outcomes, in *reply*."""
        items = reply.get("secrets")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise self._service.odd_reply()
        return items

    def _items(
        self, operation: str, body: Mapping[str, Any], count: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the outcomes of a batch, *count* of them if that is certain."""
        items = self._objects(self._service.call(_PATH + operation, body))
        if count is not None and len(items) != count:
            raise self._service.odd_reply()
        return items

    def _outcomes(
        self, operation: str, part: Sequence[Mapping[str, Any]]
    ) -> Iterator[tuple[Mapping[str, Any], dict[str, Any]]]:
        """Yield each of *part* with its outcome, from batches that the rate limit allows."""
        left, is_repeated = list(part), False
        while left:
            some = left[: self._max_items]
            try:
                yield from zip(some, self._items(operation, {"secrets": some}, len(some)), strict=True)
            except ServiceRefusedError as error:
                self._wait_for_limit(error)
                if is_repeated:
                    # A batch that is larger than the limit never fits.
                    self._max_items = max(len(some) // 2, 1)
                is_repeated = not is_repeated
                continue
            left, is_repeated = left[len(some) :], False

    def _problem(self, item: Mapping[str, Any]) -> VaultError | None:
        problem = item.get("problem")
        if problem is None:
            return None
        if not isinstance(problem, dict) or not isinstance(problem.get("status"), int):
            raise self._service.odd_reply()
        return self._service.refusal(problem["status"], problem)

    def _fetched(self, secret: Mapping[str, Any], item: Mapping[str, Any]) -> Fetched | VaultError:
        """Return the outcome *item* of the fetch of *secret*."""
        problem = self._problem(item)
        if isinstance(problem, ServiceRefusedError) and problem.code == "too_large_for_batch" and secret:
            return self._fetched_alone(secret)
        if problem:
            return problem
        try:
            value = b64decode(item["secret"], validate=True)
            return Fetched(str(item["secret_id"]), item["name"], int(item["version"]), value)
        except (KeyError, OverflowError, TypeError, ValueError):
            raise self._service.odd_reply() from None

    def _fetched_alone(self, secret: Mapping[str, Any]) -> Fetched | VaultError:
        """Return a value that is too large for a batch: larger than new ones can be."""
        try:
            newest = {name: text for name, text in secret.items() if name != "version"}
            described, fetched = self.describe(newest), self.call("fetch", secret)
        except ServiceRefusedError as error:
            return error.detached()
        return self._fetched(
            {}, described | {"version": secret.get("version") or described["version"]} | fetched
        )

    def _written(self, reply: Mapping[str, Any]) -> Written:
        try:
            return Written(str(reply["secret_id"]), int(reply["version"]), str(reply.get("warning", "")))
        except (KeyError, OverflowError, TypeError, ValueError):
            raise self._service.odd_reply() from None


def all_of(found: Sequence[Fetched | VaultError], names: Sequence[str]) -> list[Fetched]:
    """Return *found*, or raise one error for all that failed, with the *names* that the user gave.

    Raises:
        ServiceUnavailableError: The service cannot serve some of them.
        ServiceRefusedError: It refuses some of them, with the status of the first one.
    """
    failed = [(name, one) for name, one in zip(names, found, strict=True) if isinstance(one, VaultError)]
    if not failed:
        return cast("list[Fetched]", list(found))
    message = "; ".join(f"{name}: {error.problem}" for name, error in failed[:_MAX_NAMED])
    if len(failed) > _MAX_NAMED:
        message += f"; and {len(failed) - _MAX_NAMED} more"
    first = failed[0][1]
    if isinstance(first, ServiceRefusedError):
        raise ServiceRefusedError(message, status=first.status, code=first.code, hint=first.hint)
    raise ServiceUnavailableError(message)


def none_below(prefix: str) -> ServiceRefusedError:
    """Return the error for a *prefix* without secrets."""
    return ServiceRefusedError(
        f"no secret that you can reach has a name that begins with {prefix or 'anything'}",
        status=HTTPStatus.NOT_FOUND,
        code=NOT_FOUND,
        hint="`secret-manager secret list` shows all names",
    )


def deleted_name(name: str) -> VaultError:
    """Return the error for a new secret whose *name* a deleted one keeps."""
    return VaultError(
        f"the name {name} belongs to a deleted secret",
        hint="bring it back with `secret-manager secret restore`, or destroy it with "
        "`secret-manager secret purge`",
    )


def _named(secret: Mapping[str, Any], error: ServiceRefusedError) -> ServiceRefusedError:
    version = f", version {secret['version']}" if secret.get("version") else ""
    return ServiceRefusedError(
        f"{secret.get('name') or secret['secret_id']}{version}: {error.problem}",
        status=error.status,
        code=error.code,
        request_id=error.request_id,
        hint=error.hint,
    )


def encoded(value: bytes) -> dict[str, Any]:
    """Return *value* as a request has it."""
    return {"secret": b64encode(value).decode()}


def _parts(bodies: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    part: list[Mapping[str, Any]] = []
    length = 0
    for body in bodies:
        added = len(body.get("secret", ""))
        if part and (len(part) == MAX_ITEMS or length + added > _MAX_BATCH_LENGTH):
            yield part
            part, length = [], 0
        part.append(body)
        length += added
    if part:
        yield part
