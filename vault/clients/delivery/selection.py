"""Requests of Docker: a task, and the secret that the labels of Docker's secret select."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from vault.clients.delivery.outcomes import InvalidRequestError
from vault.common.limits import MAX_VERSION
from vault.common.paths import name_flaw

#: The beginning of the labels that this product reads.
LABEL_PREFIX = "secret-manager."
_LABELS = ("name", "id", "version", "field", "encoding", "services", "images")

#: What the API takes in a delivery context. In a batch, one invalid context fails all items.
_CONTEXT = re.compile("[!-~]{1,128}")
_IMAGE = re.compile("[!-~]{1,520}")


class Patterns:
    """Patterns of names, of which one is enough."""

    def __init__(self, texts: Iterable[str]) -> None:
        """Take the patterns *texts*.

        Raises:
            ValueError: One of them is empty, or has a `*` before its end; the message continues a name.
        """
        stripped = [text.strip() for text in texts]
        if not all(stripped) or any("*" in text[:-1] for text in stripped):
            raise ValueError("must be names, separated by commas, with * only at the end of a name")
        self._names = frozenset(text for text in stripped if not text.endswith("*"))
        self._beginnings = tuple(text[:-1] for text in stripped if text.endswith("*"))

    def match(self, name: str) -> bool:
        """Return whether one of them is *name*, or its beginning."""
        return name in self._names or name.startswith(self._beginnings)


#: Matches everything.
ANY = Patterns(["*"])


class Encoding(StrEnum):
    """The encoding of a stored value."""

    TEXT = "text"
    #: The value is base64, and the task gets the bytes that it encodes.
    BASE64 = "base64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The task that needs a secret; what Docker does not send is empty."""

    #: The name of Docker's secret.
    secret: str
    service: str
    service_id: str
    #: The task's name.
    task: str
    task_id: str
    node: str
    image: str

    def context(self) -> dict[str, str]:
        """Return the delivery context of a fetch, as the API takes it."""
        parts = {
            "service": self.service,
            "service_id": self.service_id,
            "task": self.task,
            "task_id": self.task_id,
            "node": self.node,
            "image": self.image,
        }
        return {name: text for name, text in parts.items() if text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A version of a secret, by the name or the ID of the secret."""

    name: str = ""
    secret_id: str = field(default="", repr=False)
    #: The newest without one.
    version: int | None = None

    def body(self) -> dict[str, Any]:
        """Return the reference as the API takes it."""
        body: dict[str, Any] = {"name": self.name} if self.name else {"secret_id": self.secret_id}
        return body if self.version is None else body | {"version": self.version}


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The content of the labels of a secret."""

    reference: Reference
    #: A field of the value, which is a JSON object then; empty for the whole value.
    field: str
    encoding: Encoding
    services: Patterns
    images: Patterns


class DeliveryRequest:
    """A request of Docker: *task*, and the *labels* of the secret."""

    def __init__(self, body: bytes) -> None:
        """Read the request in *body*.

        Raises:
            InvalidRequestError: It is not a request as Docker sends it.
        """
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise InvalidRequestError("Docker's request is not a JSON object")
        self.task = Task(
            secret=_text(found, "SecretName"),
            service=_text(found, "ServiceName", required=True),
            service_id=_text(found, "ServiceID"),
            task=_text(found, "TaskName"),
            task_id=_text(found, "TaskID", required=True),
            node=_text(found, "NodeID"),
            image=_text(found, "TaskImage", form=_IMAGE),
        )
        labels = found.get("SecretLabels") or {}
        if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
            raise InvalidRequestError("SecretLabels in Docker's request are not texts")
        self._labels: Mapping[str, str] = labels

    def selection(self) -> Selection:
        """Return what the labels select.

        Raises:
            InvalidRequestError: A label is invalid, unknown or missing.
        """
        return selection(self._labels)


def selection(labels: Mapping[str, str]) -> Selection:
    """Return what the *labels* of Docker's secret select.

    Raises:
        InvalidRequestError: A label is invalid, unknown or missing.
    """
    ours = {
        name.removeprefix(LABEL_PREFIX): text.strip()
        for name, text in labels.items()
        if name.startswith(LABEL_PREFIX)
    }
    # A mistyped label of the policy must not allow everything.
    for name in ours.keys() - set(_LABELS):
        raise InvalidRequestError(f"unknown label {LABEL_PREFIX}{name}; the labels are {', '.join(_LABELS)}")
    return Selection(
        reference=Reference(**_named(ours), version=_version(ours.get("version"))),
        field=ours.get("field", ""),
        encoding=_encoding(ours.get("encoding", Encoding.TEXT)),
        services=_patterns(ours, "services"),
        images=_patterns(ours, "images"),
    )


def _text(
    found: Mapping[str, Any], name: str, *, form: re.Pattern[str] = _CONTEXT, required: bool = False
) -> str:
    text = found.get(name) or ""
    if (text or required) and not (isinstance(text, str) and form.fullmatch(text)):
        raise InvalidRequestError(f"Docker's request has no valid {name}")
    return text


def _named(labels: Mapping[str, str]) -> dict[str, str]:
    name, secret_id = labels.get("name", ""), labels.get("id", "")
    if bool(name) == bool(secret_id):
        raise InvalidRequestError(f"set one of the labels {LABEL_PREFIX}name and {LABEL_PREFIX}id")
    if name:
        if flaw := name_flaw(name):
            raise InvalidRequestError(
                f"{LABEL_PREFIX}name must be a name such as billing/db-password, which {flaw}"
            )
        return {"name": name}
    try:
        canonical = str(UUID(secret_id))
    except ValueError:
        canonical = ""
    if canonical != secret_id.lower():
        raise InvalidRequestError(f"{LABEL_PREFIX}id must be an ID in its 36-character form")
    return {"secret_id": canonical}


def _version(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch("[1-9][0-9]{0,9}", text) or int(text) > MAX_VERSION:
        raise InvalidRequestError(f"{LABEL_PREFIX}version must be the number of a version")
    return int(text)


def _encoding(text: str) -> Encoding:
    try:
        return Encoding(text)
    except ValueError:
        raise InvalidRequestError(f"{LABEL_PREFIX}encoding must be {' or '.join(Encoding)}") from None


def _patterns(labels: Mapping[str, str], name: str) -> Patterns:
    if name not in labels:
        return ANY
    try:
        return Patterns(labels[name].split(","))
    except ValueError as error:
        raise InvalidRequestError(f"{LABEL_PREFIX}{name} {error}") from None
