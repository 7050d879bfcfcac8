"""The source of an import: a secrets engine KV, version 2, of HashiCorp Vault or OpenBao, read over HTTP."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from math import ceil
from typing import Any, NamedTuple, NoReturn
from urllib.parse import quote, urlsplit

from vault.common import kv_values
from vault.common.attributes import Description
from vault.common.durations import parse_duration
from vault.common.errors import VaultError
from vault.common.kv_values import Number
from vault.common.outcomes import Exit
from vault.common.paths import is_path
from vault.common.timestamps import to_milliseconds
from vault.core.documents.write_rules import MAX_NUMBER, WriteRules
from vault.toolkit.client.http import USER_AGENT, Failure, HTTPClient, Reply, RequestFailedError, Waits

#: Timeout of each wait for the source.
_TIMEOUT = Waits(connect=30, read=30)

#: Pauses before all attempts except the first. At first 0: the source may have closed an idle connection.
_PAUSES_SECONDS = (0, 1, 2, 4, 8)

#: The longest pause that the source can ask for.
_MAX_PAUSE_SECONDS = 60

#: The source stores at most 32 MiB in one request.
_MAX_REPLY_BYTES = 64 * 1_048_576

#: Failures that are not retried, and what to do.
_FINAL = {Failure.UNTRUSTED: "name its CA with --ca-cert", Failure.TOO_LARGE: ""}

#: Not `int`, which also reads signs, underscores and the digits of all scripts.
_NUMBER = re.compile("[0-9]{1,10}")


class ImportSourceError(VaultError):
    """The source of an import cannot be read; the message says why, and never contains the token."""


class ImportSourceUnavailableError(ImportSourceError):
    """The source of an import does not answer."""

    kind = "import_source_away"
    exit_code = Exit.UNAVAILABLE


class ImportSourceDeniedError(ImportSourceError):
    """The source of an import does not accept the token."""

    exit_code = Exit.DENIED


class ImportRefusedError(VaultError):
    """A single secret cannot be imported; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceVersion:
    """A version of a secret in the source."""

    number: int
    created_at: datetime
    #: When it was, or will be, deleted.
    deleted_at: datetime | None
    #: The value as canonical JSON. None if it is deleted or destroyed: then the source returns none.
    value: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSecret:
    """A secret in the source, with its newest versions."""

    created_at: datetime
    #: The number of changes to its metadata.
    metadata_version: int
    description: Description
    #: In ascending order. A secret can have metadata only.
    versions: Sequence[SourceVersion]
    #: The number of older versions, which were not read.
    skipped: int
    rules: WriteRules


class Found(NamedTuple):
    """The path of a secret in the source, or of a folder that cannot be listed, with the error."""

    path: str
    error: ImportRefusedError | None = None


class KVSource:
    """A secrets engine KV, version 2, at *mount* of the server at *url*."""

    def __init__(
        self, url: str, *, mount: str, token: str, namespace: str = "", ca_file: str | None = None
    ) -> None:
        """Trust the certificates of *ca_file* in place of the system's.

        Raises:
            ImportSourceError: *ca_file* has no certificates.
        """
        #: The address for the audit trail.
        self.url = f"{url.rstrip('/')}/v1/{mount}"
        self._root, self._mount = urlsplit(url).path.rstrip("/"), quote(mount)
        try:
            self._http = HTTPClient(url, max_bytes=_MAX_REPLY_BYTES, ca_file=ca_file)
        except OSError:
            # An SSLError is one, too.
            raise ImportSourceError("--ca-cert does not name a file with certificates") from None
        # `X-Vault-Request`: agents and proxies can require it.
        self._headers = {"X-Vault-Token": token, "X-Vault-Request": "true", "User-Agent": USER_AGENT}
        if namespace:
            self._headers["X-Vault-Namespace"] = namespace

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def check(self) -> None:
        """Require that the token can see the mount, and that it is KV, version 2.

        Raises:
            ImportSourceError: It is not, or the source cannot be read.
        """
        status, body = self._get(f"sys/internal/ui/mounts/{self._mount}")
        if status == HTTPStatus.FORBIDDEN:
            raise ImportSourceDeniedError(
                "the source does not accept the token, or the token cannot read the mount"
            )
        found = _data(body) if status == HTTPStatus.OK else {}
        if found.get("type") != "kv" or (found.get("options") or {}).get("version") != "2":
            raise ImportSourceError("the source has no secrets engine KV, version 2, at this mount")

    def paths(self, path: str) -> Iterator[Found]:
        """Yield the secrets at and below *path*, in the order of the source; below only, if it is a folder.

        A folder with a name that no secret here can begin with is yielded itself. Raises ImportSourceError.
        """
        if path and not path.endswith("/"):
            yield Found(path)
            path += "/"
        yield from self._below(path)

    def _below(self, folder: str) -> Iterator[Found]:
        try:
            keys = self._list(folder)
        except ImportRefusedError as error:
            yield Found(folder, error.detached())
            return
        for path in (folder + key for key in keys):
            if path.endswith("/") and is_path(path):
                yield from self._below(path)
            else:
                yield Found(path)

    def _list(self, folder: str) -> Sequence[str]:
        status, body = self._get(f"{self._mount}/metadata/{quote(folder)}?list=true")
        if status == HTTPStatus.NOT_FOUND:
            return []
        keys = _data(_require(status, body)).get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            _refuse_form()
        return keys

    def read(self, path: str, *, max_versions: int) -> SourceSecret | None:
        """Return the secret at *path* with its newest *max_versions*; None if it does not exist.

        Raises:
            ImportRefusedError: The token cannot read it, it was changed meanwhile, or a time is impossible.
            ImportSourceError: The source cannot be read.
        """
        status, body = self._get(f"{self._mount}/metadata/{quote(path)}")
        if status == HTTPStatus.NOT_FOUND:
            return None
        metadata = _data(_require(status, body))
        try:
            states = {_version_number(number): state for number, state in metadata["versions"].items()}
            numbers = sorted(states)[-max_versions:]
            return SourceSecret(
                created_at=_moment(metadata["created_time"]),
                metadata_version=_number(metadata.get("current_metadata_version", 0)),
                description=Description.of_pairs(
                    {str(key): str(text) for key, text in (metadata.get("custom_metadata") or {}).items()}
                ),
                versions=[self._version(path, number, states[number]) for number in numbers],
                skipped=len(states) - len(numbers),
                rules=_rules(metadata),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            _refuse_form()

    def _version(self, path: str, number: int, state: Mapping[str, Any]) -> SourceVersion:
        deleted_at = _moment(state["deletion_time"]) if state["deletion_time"] else None
        is_readable = not state["destroyed"] and (deleted_at is None or deleted_at > datetime.now(UTC))
        return SourceVersion(
            number=number,
            created_at=_moment(state["created_time"]),
            deleted_at=deleted_at,
            value=self._value(path, number) if is_readable else None,
        )

    def _value(self, path: str, number: int) -> bytes:
        status, body = self._get(f"{self._mount}/data/{quote(path)}?version={number}")
        if status == HTTPStatus.NOT_FOUND:
            raise ImportRefusedError("it was changed while it was read", hint="run the import again")
        try:
            return kv_values.encode(_data(_require(status, body))["data"])
        except RecursionError:
            raise ImportRefusedError("it is nested too deeply") from None

    def _get(self, place: str) -> tuple[int, Any]:
        """Return the status and the decoded body of the reply to a GET below `/v1/`, of 200 only."""
        reply = self._final(f"{self._root}/v1/{place}")
        if reply.status != HTTPStatus.OK:
            return reply.status, None
        try:
            return reply.status, json.loads(reply.content, parse_int=Number.of, parse_float=Number.of)
        except RecursionError:
            raise ImportRefusedError("it is nested too deeply") from None
        except ValueError:
            _refuse_form()

    def _final(self, target: str) -> Reply:
        failure, asked = "", 0
        for pause in (0, *_PAUSES_SECONDS):
            time.sleep(max(pause, asked))
            try:
                reply = self._http.request("GET", target, headers=self._headers, timeout=_TIMEOUT)
            except RequestFailedError as error:
                failure = f"the source {error}"
                if error.failure in _FINAL:
                    raise ImportSourceError(failure, hint=_FINAL[error.failure]) from None
                continue
            if reply.status < HTTPStatus.INTERNAL_SERVER_ERROR and (
                reply.status != HTTPStatus.TOO_MANY_REQUESTS
            ):
                return _final_one(reply)
            failure = f"the source answers with the status {reply.status}"
            asked = _asked_pause(reply.retry_after)
        raise ImportSourceUnavailableError(failure, hint="run the import again once it works")


def _final_one(reply: Reply) -> Reply:
    """Return *reply* unless it is a redirect: the token must not reach another server."""
    if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
        raise ImportSourceError(
            "the source redirects to another server",
            hint="use the address of its active node or load balancer",
        )
    return reply


def _asked_pause(retry_after: str) -> int:
    """Return the seconds that the source asks to wait. It can also name a date, which is ignored."""
    with suppress(ValueError):
        return min(max(int(retry_after), 0), _MAX_PAUSE_SECONDS)
    return 0


def _require(status: int, body: Any) -> Any:
    if status == HTTPStatus.FORBIDDEN:
        raise ImportRefusedError("the token cannot read it")
    if status != HTTPStatus.OK:
        raise ImportRefusedError(f"the source answers with the status {status}")
    return body


def _data(body: Any) -> dict[str, Any]:
    found = body.get("data") if isinstance(body, dict) else None
    if not isinstance(found, dict):
        _refuse_form()
    return found


def _rules(metadata: Mapping[str, Any]) -> WriteRules:
    return WriteRules(
        version_required=metadata.get("cas_required") is True,
        metadata_version_required=metadata.get("metadata_cas_required") is True,
        # A source can have a larger one, which means no more than the largest here.
        max_versions=min(_number(metadata.get("max_versions", 0)), MAX_NUMBER),
        delete_after_seconds=ceil(
            parse_duration(metadata.get("delete_version_after") or "0s").total_seconds()
        ),
    )


def _version_number(text: str) -> int:
    """Return the number of a version that the API can name. Raises ValueError."""
    number = _number(text)
    if not 0 < number <= MAX_NUMBER:
        raise ValueError("no number of a version")
    return number


def _number(found: object) -> int:
    """Return a number of the source, from a text or `Number`. Raises ValueError."""
    text = str(found)
    if not _NUMBER.fullmatch(text):
        raise ValueError("no whole number")
    return int(text)


def _moment(text: str) -> datetime:
    """Return a time of the source, as MongoDB stores it. Raises ImportRefusedError."""
    with suppress(OverflowError, ValueError):
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return to_milliseconds(time.astimezone(UTC))
    raise ImportRefusedError("it has an impossible time")


def _refuse_form() -> NoReturn:
    raise ImportSourceError("a reply of the source is not one of KV, version 2") from None
