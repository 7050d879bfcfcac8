"""Shared fixtures of the tests of imports."""

import pytest

from tests.features.imports.moving import Tree
from tests.support.openbao import OpenBao

__all__ = ["tree"]


@pytest.fixture
def tree(openbao: OpenBao) -> Tree:
    """Return an empty secrets engine on OpenBao."""
    return Tree(openbao)
