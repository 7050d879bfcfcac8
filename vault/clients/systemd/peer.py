"""Peers: the unit and the credential for which systemd connects to a socket."""

import re
import socket
import struct
from typing import NamedTuple

from vault.clients.delivery.outcomes import ForbiddenError, InvalidRequestError

#: systemd binds its end to an abstract name: 0, a random number, `/unit/UNIT/CREDENTIAL`.
_ADDRESS = re.compile(rb"\0([0-9a-f]{1,16})/unit/([^/]+)/([^/]+)")
#: The form of names in the audit trail. An address has at most 107 bytes.
_NAME = re.compile("[!-~]+")
_CREDENTIALS = struct.Struct("3i")


class Peer(NamedTuple):
    """A unit that starts, and the credential that it loads."""

    unit: str
    credential: str
    #: The random number that systemd chose for this connection.
    connection: str


def identify(connection: socket.socket, address: object, *, owner: int) -> Peer:
    """Return the peer of *connection*, whose address is *address*.

    Raises:
        ForbiddenError: It is not a process of the user with the ID *owner*, who is trusted to name units.
        InvalidRequestError: It is not systemd, or a name is not in visible ASCII.
    """
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    if user != owner:
        raise ForbiddenError(f"the connection is from the user {user}, not from systemd")
    parts = _ADDRESS.fullmatch(address) if isinstance(address, bytes) else None
    if not parts:
        raise InvalidRequestError("the address of the connection does not name a unit and a credential")
    number, unit, credential = (part.decode("utf-8", "replace") for part in parts.groups())
    if not _NAME.fullmatch(unit) or not _NAME.fullmatch(credential):
        raise InvalidRequestError("the name of the unit or credential is not in visible ASCII")
    return Peer(unit, credential, number)
