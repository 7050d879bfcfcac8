"""The server in an administrator's secret: all of the value except a user and password."""

import re
from collections.abc import Iterable

from vault.core.errors import RotationRefusedError
from vault.crypto.token_key import TokenKey
from vault.documents.rotation import Rotation

#: Only if no parser of URLs can find the host elsewhere: a driver ends it at another character than others.
_USER_AND_PASSWORD = re.compile("(?<=://)[^/?#@]*@")


def server_of(url: str) -> str:
    """Return an administrator's *url* without its user and password; the path of a program stays whole.

    Options stay, too: some name a host.
    """
    return _USER_AND_PASSWORD.sub("", url.strip(), count=1)


def require_free(users: Iterable[str], url: str, key: TokenKey, plans: Iterable[Rotation]) -> None:
    """Require that none of *plans* changes the password of one of *users* on the server of *url*.

    Each would replace what the other one has published.

    Raises:
        RotationRefusedError: One does.
    """
    server = server_of(url)
    for plan in plans:
        if {*plan.users}.intersection(users) and plan.server == key.rotation_server(server, plan.id):
            raise RotationRefusedError("Another plan changes the password of one of the users.")
