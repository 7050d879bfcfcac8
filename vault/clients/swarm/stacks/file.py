"""Stack files: services, and the secrets that they ask for.

Not read by `docker stack config`: a CI job that checks them has only the repository and a token.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from vault.common.errors import VaultError
from vault.common.text import quantity

#: The maximum size of a file, and the maximum number of aliases in it: each is a copy of what it refers to.
MAX_BYTES = 1_048_576
_MAX_ALIASES = 1_000

_NOTHING = frozenset({"", "~", "null"})
_FALSE = _NOTHING | {"false", "n", "no", "off"}

_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_]\w*)"
    r"|\{(?P<braced>[A-Za-z_]\w*)(?:(?P<operator>:?[-?])(?P<word>[^}]*))?\}|)",
    re.ASCII,
)


class StackFileError(VaultError):
    """A stack file cannot be read."""

    kind = "invalid_stack_file"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSecret:
    """A secret of a stack."""

    #: Empty for Docker's own secrets.
    driver: str
    #: Created outside of the stack.
    is_external: bool
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackService:
    """A service of a stack."""

    image: str
    #: The secrets that its tasks get, by their keys in the stack.
    secrets: Sequence[str]


@dataclass(frozen=True, slots=True)
class Stack:
    """The services and secrets of a stack, by their keys in its files."""

    services: Mapping[str, StackService] = field(default_factory=dict)
    secrets: Mapping[str, StackSecret] = field(default_factory=dict)

    def merged(self, override: "Stack") -> "Stack":
        """Return this stack with *override* over it, as `docker stack deploy` merges files."""
        services = dict(self.services)
        for key, service in override.services.items():
            below = services.get(key, StackService(image="", secrets=()))
            services[key] = StackService(
                image=service.image or below.image,
                secrets=tuple(dict.fromkeys((*below.secrets, *service.secrets))),
            )
        return Stack(services, {**self.secrets, **override.secrets})


def read(content: bytes, variables: Mapping[str, str | None], others: Collection[str] = ()) -> Stack:
    """Return the stack in *content*, a file with references to *variables*; None is for one that is unset.

    *others* are the names of further variables with a value. A reference to one of these is refused, and so
    is one without a default to a variable that is not known at all: its value might be a credential.

    Raises:
        StackFileError: It is not a stack file, a required variable is unset, or one is not among *variables*.
    """
    reader = _Reader(variables, others)
    stack = reader.stack(_document(content))
    if unnamed := sorted(reader.unnamed):
        raise StackFileError(
            f"it refers to {quantity(len(unnamed), 'variable')} without --env: {', '.join(unnamed)}",
            hint=f"add {' '.join(f'--env {name}' for name in unnamed)}",
        )
    return stack


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """Reads every scalar as text, as it is written, and merges mappings."""

    yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", re.compile("^<<$"))]}  # noqa: RUF012

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, unless there are too many aliases."""
        if self.check_event(yaml.AliasEvent):
            self._aliases += 1
            if self._aliases > _MAX_ALIASES:
                raise StackFileError(f"more than {_MAX_ALIASES} aliases")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node


def _document(content: bytes) -> Mapping[str, Any]:
    if len(content) > MAX_BYTES:
        raise StackFileError(f"more than {MAX_BYTES} bytes")
    try:
        # Safe: the loader is a `SafeLoader`.
        found = yaml.load(content, _Loader)  # noqa: S506
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise StackFileError(f"invalid YAML: {place}{error.problem}") from None
    except (yaml.YAMLError, ValueError):
        raise StackFileError("not YAML in UTF-8") from None
    except RecursionError:
        raise StackFileError("nested too deeply") from None
    if not isinstance(found, dict):
        raise StackFileError("not a mapping with services and secrets")
    return found


class _Reader:
    """The reader of a file's content, with *variables* in place of references to them."""

    def __init__(self, variables: Mapping[str, str | None], others: Collection[str]) -> None:
        self._variables = variables
        self._others = others
        #: References to variables that the reader must not replace.
        self.unnamed: set[str] = set()

    def stack(self, document: Mapping[str, Any]) -> Stack:
        return Stack(
            {key: self._service(key, found) for key, found in _section(document, "services").items()},
            {key: self._secret(key, found) for key, found in _section(document, "secrets").items()},
        )

    def _service(self, key: str, found: Any) -> StackService:
        place = f"services.{key}"
        service = _mapping(found, place)
        secrets = service.get("secrets", [])
        if isinstance(secrets, str) and secrets in _NOTHING:
            secrets = []
        if not isinstance(secrets, list):
            raise StackFileError(f"{place}.secrets is not a list")
        return StackService(
            image=self._text(service.get("image", ""), f"{place}.image"),
            secrets=tuple(self._source(one, f"{place}.secrets") for one in secrets),
        )

    def _source(self, found: Any, place: str) -> str:
        source = found.get("source") if isinstance(found, dict) else found
        return self._text(source, place)

    def _secret(self, key: str, found: Any) -> StackSecret:
        place = f"secrets.{key}"
        secret = _mapping(found, place)
        external = secret.get("external", "")
        return StackSecret(
            driver=self._text(secret.get("driver", ""), f"{place}.driver"),
            is_external=isinstance(external, dict)
            or self._text(external, f"{place}.external").lower() not in _FALSE,
            labels=self._labels(secret.get("labels", ""), f"{place}.labels"),
        )

    def _labels(self, found: Any, place: str) -> Mapping[str, str]:
        if isinstance(found, list):
            texts = (self._text(one, place).partition("=") for one in found)
            return {name: text for name, _, text in texts}
        labels = _mapping(found, place)
        return {name: self._text(text, f"{place}.{name}") for name, text in labels.items()}

    def _text(self, found: Any, place: str) -> str:
        if not isinstance(found, str):
            raise StackFileError(f"{place} is not text")
        try:
            return _VARIABLE.sub(self._value, found)
        except StackFileError as error:
            raise StackFileError(f"{place}: {error}") from None

    def _value(self, reference: re.Match[str]) -> str:
        if reference["dollar"]:
            return "$"
        name = reference["plain"] or reference["braced"]
        if not name:
            raise StackFileError("an invalid reference to a variable; write $$ for a dollar sign")
        operator, word = reference["operator"] or "", reference["word"] or ""
        if name not in self._variables and (name in self._others or not operator.endswith("-")):
            self.unnamed.add(name)
            return ""
        value = self._variables.get(name)
        if value or (value is not None and not operator.startswith(":")):
            return value
        if operator.endswith("?"):
            raise StackFileError(f"the variable {name} is not set: {word}".rstrip(": "))
        return word


def _section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return _mapping(document.get(name, ""), name)


def _mapping(found: Any, place: str) -> Mapping[str, Any]:
    if isinstance(found, str) and found in _NOTHING:
        return {}
    if not isinstance(found, dict):
        raise StackFileError(f"{place} is not a mapping")
    return found
