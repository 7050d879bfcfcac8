"""Strict reading of YAML: only texts, lists and objects, without aliases and duplicate names.

Aliases unfold to more than the file. Readers disagree on everything else that is not a text: `0123` is 83 or
123, and `no` is false or a country.
"""

from collections import Counter
from typing import Any

import yaml

from vault.core.errors import TransferError
from vault.core.text import printable

_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str")}


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc]
    """A loader that refuses aliases and duplicate names, and keeps the lines with other types."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lines: list[int] = []

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError
        node: yaml.Node = super().compose_node(parent, index)
        if node.tag not in _TAGS:
            self.lines.append(node.start_mark.line + 1)
        return node

    def get_single_node(self) -> yaml.Node | None:
        """Return the document."""
        found: yaml.Node | None = super().get_single_node()
        if self.lines:
            raise TransferError.of(
                [
                    TransferError(
                        f"line {line} has a name or a value that is not text", hint="put it in quotes"
                    )
                    for line in dict.fromkeys(self.lines)
                ]
            )
        return found

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: ARG002 - PyYAML's signature
        """Return the object of *node*."""
        found: dict[Any, Any] = super().construct_mapping(node, deep=True)
        if len(found) < len(node.value):
            names = Counter(key.value for key, _ in node.value)
            raise TransferError(f"the file has the name {printable(names.most_common(1)[0][0])} twice")
        return found


def decode(text: str) -> Any:
    """Return the decoded YAML *text*.

    Raises:
        TransferError: It is not YAML, has an alias, or a name twice, or a name or a value that is not text.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise TransferError(f"the file is malformed YAML{where}") from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        raise TransferError("the file is malformed YAML, or has an alias") from None
