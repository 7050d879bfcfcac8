"""Signed statements about a trail, which the tests of features bring for those of edits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import VerifyingKey


@dataclass(frozen=True)
class Statement:
    """A kind of signed statements, and what readers of the trail get from which it is made."""

    name: str
    #: What its signature covers before the statement itself.
    purpose: bytes
    #: Makes one of the entries of an address.
    make: Callable[[str, Keyring], dict[str, Any]]
    #: Returns the claims of one, with their heads, if one of the keys signed it.
    read: Callable[[str, Mapping[str, VerifyingKey]], Any]
    #: Returns what readers get of a principal, with the IDs of secrets.
    rows: Callable[[str], Sequence[dict[str, Any]]]
