"""Strict reading of YAML: without aliases, which unfold to more than the file, and duplicate names."""

from typing import Any

import yaml

from vault.core.errors import TransferError


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc]
    """A loader that refuses aliases and duplicate names."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: ARG002 - PyYAML's signature
        """Return the object of *node*."""
        found: dict[Any, Any] = super().construct_mapping(node, deep=True)
        if len(found) < len(node.value):
            raise yaml.YAMLError
        return found


def decode(text: str) -> Any:
    """Return the decoded YAML *text*.

    Raises:
        TransferError: It is not YAML, or has an alias or a name twice.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - it is a SafeLoader
    except yaml.MarkedYAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise TransferError(f"the file is malformed YAML{where}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise TransferError("the file is malformed YAML, or has an alias or a name twice") from None
